"""Run diffusers' own conversion script on a checkpoint; runs in an environment of its own (diffusers 0.17.1).

``python run_original_conversion.py SCRIPT CHECKPOINT CONFIG.yaml TEXT.json OUT ema|trained`` writes the pipeline to
``OUT``. What is replaced in the script, because it would ask the hub for it: the configuration of the text tower, here
``TEXT.json``, and the tokenizer, which is left out.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any


def main(script: str, checkpoint: str, config: str, text: str, out: str, weights: str) -> None:
    """Convert, and save every part that has tensors."""
    sys.path.insert(0, str(Path(script).parent))
    module: Any = importlib.import_module(Path(script).stem)
    kind = module.ClapTextConfig
    settings = json.loads(Path(text).read_text(encoding="utf-8"))
    kind.from_pretrained = classmethod(lambda cls, _name: cls(**settings))
    parts: dict[str, Any] = {}
    module.AutoTokenizer.from_pretrained = lambda _name: None
    module.AudioLDMPipeline = lambda **given: parts.update(given)
    # The script hands the name of the file to a parser of YAML; its text is what works.
    module.load_pipeline_from_original_audioldm_ckpt(
        checkpoint,
        original_config_file=Path(config).read_text(encoding="utf-8"),
        extract_ema=weights == "ema",
        device="cpu",
    )
    for name in ("unet", "vae", "text_encoder", "vocoder"):
        parts[name].save_pretrained(Path(out) / name, safe_serialization=True)
    parts["scheduler"].save_pretrained(Path(out) / "scheduler")


if __name__ == "__main__":
    main(*sys.argv[1:])
