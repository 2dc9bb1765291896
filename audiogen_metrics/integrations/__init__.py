"""Scores while a model trains: callbacks for Lightning, transformers' Trainer and accelerate."""
