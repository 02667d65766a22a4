"""The last stage: the exact score of the CNN's embeddings."""

from pipeline.cascade.stages.stage import Network, Stage

STAGE = Stage("cnn", network=Network("embedding", lambda cnn: cnn))
