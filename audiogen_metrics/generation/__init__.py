"""From prompts to a folder of audio that can be scored: requests, the interface of a system, the folder."""
