"""From audio files to embeddings: batched extraction and its cache."""
