"""The stages a cascade may have, cheap ones first: a file each, and a line here."""

from pipeline.cascade.stages import cnn, metadata, pca, rough, signature
from pipeline.cascade.stages.stage import Stage

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        metadata.STAGE,
        signature.STAGE,
        rough.STAGE,
        pca.STAGE,
        cnn.STAGE,
    )
}
FIRST, *_, LAST = STAGES
LEARNED = {name: stage.numbers for name, stage in STAGES.items() if stage.numbers}
NETWORKS = {name: stage.network for name, stage in STAGES.items() if stage.network}
