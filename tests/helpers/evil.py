"""Images and decoders that hang or kill whoever decodes them."""

import io

import numpy as np
from PIL import Image

KILLER = b"kills whoever decodes it"
# Found by every Python that has its folder on the path: a decoder that dies of KILLER, as one with
# a fault in its C code would.
KILLED_BY_KILLER = f"""
import os, sys
from importlib.machinery import PathFinder

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "pipeline.images.decode":
            return None
        spec = PathFinder.find_spec(name, path)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            decode = module.decode_rgb
            module.decode_rgb = (
                lambda data, *asked: os.abort() if {KILLER!r} in data else decode(data, *asked)
            )

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def many_scans(side, scans):
    """A progressive JPEG whose last scan comes ``scans`` times: each goes over all of its blocks.

    (The scan bomb of libjpeg's "Two Issues with the JPEG Standard".)
    """
    out = io.BytesIO()
    Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + data[-2:]
