"""Loggers that write one row of metrics per epoch: a csv file and Weights & Biases."""
