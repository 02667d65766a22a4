"""Every job over a small collection, and what of its outputs is the same anywhere."""

import hashlib

from jobs.calibrate import calibrate
from jobs.cascade import cascade
from jobs.corpus import make_corpus
from jobs.dedup import dedup
from jobs.embed import embed
from jobs.index import index
from jobs.report import report
from jobs.search import search
from jobs.sign import sign
from pipeline.core.folder import place
from pipeline.core.objects import ObjectPath
from tests.helpers.files import digests
from tests.helpers.main_way import config
from tests.helpers.object_store import objects_below

QUICK = (make_corpus, embed, search, index, dedup, report)
ALL = (*QUICK, sign, calibrate, cascade)
# They tell where something lies, or how long it took.
OF_THE_PLACE = ("source.parquet", "report.html", "calibration", "funnel.", "recall_costs.")


def settings(root, *overrides):
    """The settings of all jobs with their outputs below ``root``, of one process."""
    small = (
        "ray.workers=0",
        "corpus.images=136",
        "corpus.copies=2",
        "search.sample_queries=2",
        "calibrate.fit_images=40",
        "calibrate.calibration_images=80",
        f"index.output={root}/index",
        f"dedup.output={root}/dedup",
        f"sign.output={root}/signatures",
        f"cascade.features={root}/features",
        f"cascade.output={root}/cascade",
    )
    return config(root, *small, *overrides)


def left_by(jobs, root, *overrides):
    """Do ``jobs``; return the digest of every file they have left that is the same anywhere."""
    for job in jobs:
        job(settings(root, *overrides))
    there = place(str(root))
    if isinstance(there, ObjectPath):
        found = {n: hashlib.sha256(data).hexdigest() for n, data in objects_below(there).items()}
    else:
        found = digests(there)
    return {n: told for n, told in found.items() if not any(part in n for part in OF_THE_PLACE)}
