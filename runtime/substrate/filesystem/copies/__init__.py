"""A copy of a project where no overlay can be put over it, read as the layer it would have been."""
