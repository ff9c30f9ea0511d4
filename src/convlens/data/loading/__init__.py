"""Loading of batches: data sets, crops, samplers and loaders."""
