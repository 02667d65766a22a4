"""The stage that compares the leading principal components of embeddings that are all there."""

from pipeline.cascade.stages.stage import Stage

STAGE = Stage("pca", embeddings=True)
