"""LightningModules that train networks."""

from convlens.systems.classifier import Classifier

__all__ = ["Classifier"]
