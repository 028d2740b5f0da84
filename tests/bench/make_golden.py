"""Makes golden/result-5.json anew: run it only when the schema version grows."""

from pathlib import Path

from bench.config import EvaluationConfig, RunConfig
from bench.progress import Silent
from bench.runner import run
from impls import GeneratorConfig

GOLDEN = Path(__file__).parent / "golden" / "result-5.json"


if __name__ == "__main__":
    config = RunConfig(
        implementations=("torch_rnn", "torch_cell", "manual_cell"),
        model=GeneratorConfig(hidden_size=4, num_layers=2),
        iterations=6,
        processes=2,
        rounds=2,
        batch_sizes={"generate": (1, 2), "train_step": (1,)},
        evaluation=EvaluationConfig(sequences=5, points=30, warm_up=10),
    )
    run(config, GOLDEN, Silent())
