"""imagededup over a folder of files, in its own process: python -m pipeline.lab.dedup_rivals."""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dedup.identical_sets import PAIRS
from pipeline.embedding.models import find_weights
from pipeline.embedding.settings import EncoderSettings
from pipeline.lab.dedup_ways import USUAL
from pipeline.lab.embed_rivals import imagededup_encoder


def find_pairs(method: str, folder: Path, wanted: dict[str, Any]) -> pa.Table:
    """Return imagededup's PAIRS of the files ``folder`` holds, by "cnn" or "phash".

    Files are named by row number, which stands for the id. A hash's score is minus its distance,
    which is at most the ``distance`` wanted, or USUAL.
    """
    if method == "cnn":
        weights = find_weights(wanted["model"], None, wanted["weights_sha256"])
        settings = EncoderSettings(wanted["model"], weights, "torch", "f32", wanted["size"], 32)
        encoder = imagededup_encoder(settings)
        encoded = encoder.encode_images(str(folder), num_enc_workers=wanted["workers"])
        found = encoder.find_duplicates(
            encoding_map=encoded,
            min_similarity_threshold=wanted["similarity"],
            scores=True,
            num_sim_workers=wanted["workers"],
        )
        return _pairs(found, 1.0)
    from imagededup.methods import PHash

    hashes = PHash(verbose=False)
    encoded = hashes.encode_images(str(folder), num_enc_workers=wanted["workers"])
    found = hashes.find_duplicates(
        encoding_map=encoded,
        max_distance_threshold=wanted.get("distance", USUAL),
        scores=True,
        num_dist_workers=wanted["workers"],
    )
    return _pairs(found, -1.0)


def _pairs(found: dict[str, list[tuple[str, float]]], sign: float) -> pa.Table:
    scores: dict[tuple[int, int], float] = {}
    for name, partners in found.items():
        one = int(Path(name).stem)
        for partner, score in partners:
            other = int(Path(partner).stem)
            scores[min(one, other), max(one, other)] = sign * float(score)
    rows = [(a, b, score, False) for (a, b), score in sorted(scores.items())]
    named = [dict(zip(PAIRS.names, row, strict=True)) for row in rows]
    return pa.Table.from_pylist(named, schema=PAIRS)


if __name__ == "__main__":
    _, name, images, output, settings = sys.argv
    pq.write_table(find_pairs(name, Path(images), json.loads(settings)), output)
