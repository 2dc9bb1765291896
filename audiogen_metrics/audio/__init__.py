"""From folders of recordings to checked, prepared waveforms."""
