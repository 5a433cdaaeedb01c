"""The store as a whole: worker, images, doctor."""
