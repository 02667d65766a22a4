"""The id of an image, and what stands where there is none."""

NO_ID = -1
