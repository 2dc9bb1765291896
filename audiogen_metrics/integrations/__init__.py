"""Scores while a model of others trains: Lightning, transformers' Trainer, accelerate."""
