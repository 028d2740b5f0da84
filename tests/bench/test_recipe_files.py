"""Recipe files: what is written is read again, what is wrong is told, a result needs no file."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from bench import config as configuration
from bench import launch, recipe_files, records
from bench.cli import main
from bench.compare import compare
from bench.errors import BenchError
from bench.observed import of_result
from bench.recipes import RECIPES, Recipe
from bench.worker import Session
from impls import REGISTRY

OWN = replace(
    RECIPES["quick"], summary='a "quoted" one', iterations=3, points=(30, 40), loss_warm_up=20
)

recipes = st.builds(
    replace,
    st.sampled_from(list(RECIPES.values())),
    summary=st.text(max_size=20),
    iterations=st.integers(1, 10**9),
    learning_rate=st.floats(1e-300, 100.0),
    muon_rate=st.none() | st.floats(1e-9, 100.0),
    points=st.tuples(st.integers(60, 500), st.integers(60, 500)),
    free_probability=st.just("lab") | st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
    clip_norm=st.none() | st.floats(1e-6, 1e9),
    init=st.none() | st.sampled_from(configuration.INIT_NAMES),
    sequences=st.none() | st.integers(1, 10**6),
)


@pytest.fixture
def written(tmp_path):
    def write(text, name="own.toml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@given(recipe=recipes, model=st.sampled_from([{}, {"hidden_size": 8, "nonlinearity": "relu"}]))
def test_what_is_written_is_read_again(tmp_path, recipe, model):
    path = tmp_path / "own.toml"
    path.write_bytes(recipe_files.as_toml(recipe, model, "one\n\ntwo").encode())
    assert recipe_files.load(path) == recipe_files.Chosen("own", recipe, model)


@pytest.mark.parametrize("name", RECIPES)
def test_the_built_in_recipes_are_within_the_ranges(name):
    python = TypeAdapter(Recipe)
    assert python.validate_json(python.dump_json(RECIPES[name])) == RECIPES[name]


GOOD = recipe_files.as_toml(OWN, {"hidden_size": 8}, "good")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("iterations = 3\n", "", "field iterations is missing"),
        ("iterations = 3", "iterations = '3'", "field iterations: Input should be a valid integer"),
        ("iterations = 3", "iterations = 0", "field iterations: Input should be greater"),
        ("iterations = 3", "iterations = 3\nx = 1", "unknown field 'x' (known: summary, "),
        ("iterations = 3", "iterations = ", "is not TOML"),
        ("iterations = 3", f"iterations = {'9' * 5000}", "is not TOML"),
        ("iterations = 3", f"iterations = 3\nx = {'[' * 50_000}", "is not TOML"),
        ("[30, 40]", "[30]", "field points: must be two whole numbers"),
        ("[30, 40]", "[30, 21]", "loss_warm_up must be below 20"),
        ("[1.0, 1.0]", "[1.0, 1.1]", "field free_probability: must be two numbers from 0 to 1"),
        ("0.02", "nan", "field learning_rate: Input should be a finite number"),
        ("orthogonal", "orthogonall", "field init: Input should be 'uniform'"),
        ("[model]", "[modle]", "unknown field 'modle'"),
        ("hidden_size = 8", "hidden_size = 1e3", "field model.hidden_size: Input should be"),
        ("hidden_size = 8", "hidden = 8", "unknown field 'model.hidden' (known: hidden_size, "),
        ("[model]\nhidden_size = 8", "model = 3", "is not TOML|field model"),
        (GOOD, "#" * 100_001, "is larger than 100 kB"),
    ],
)
def test_a_damaged_file_is_one_line_and_status_2(written, capsys, old, new, said):
    assert old in GOOD
    path = written(GOOD.replace(old, new))
    with pytest.raises(SystemExit) as end:
        main(["run", "--recipe", str(path)])
    message = capsys.readouterr().err
    assert end.value.code == 2
    assert message.startswith(f"error: {path}")
    assert any(part in message for part in said.split("|"))
    assert message.count("\n") == 1


def test_what_is_no_file_of_text_is_told(written, tmp_path):
    for path, said in {
        tmp_path / "none.toml": "there is no recipe file",
        tmp_path: "is a folder",
        written(b"\xff\xfe"): "not text in UTF-8",
        "a/\0b.toml": "cannot read",
        written(GOOD, "quick.toml"): "would pass for the recipe 'quick'",
        written(GOOD, "an own.toml"): "rename the file",
        "/dev/zero": "is larger than",
    }.items():
        with pytest.raises(BenchError, match=said):
            recipe_files.chosen(str(path) if path != tmp_path else f"{path}/")


@pytest.fixture
def configured(monkeypatch):
    """What a command would run."""

    def of(*arguments):
        found = []

        def stop(config, *_):
            found.append(config)
            raise BenchError("that was all")

        monkeypatch.setattr(launch, "execute", stop)
        with pytest.raises(SystemExit):
            main(["run", *map(str, arguments)])
        return found[0]

    return of


def test_a_run_by_a_file_needs_the_file_no_more(written, configured, golden, tmp_path):
    path, kept = written(GOOD), tmp_path / "r.json"
    config = configured("--recipe", path, "--impl", "manual_cell")
    path.unlink()
    result = records.load(golden).model_copy(update={"config": config})
    records.save(result, kept)
    config = records.load(kept).config
    assert (config.recipe, configuration.recipe_of(config)) == ("own", OWN)
    session = Session(config, {"manual_cell": REGISTRY["manual_cell"]}, lambda: None)
    with contextlib.closing(session):
        (case,) = session.plan()
        assert case.model.hidden_size == 8
        assert len(session.train(case).loss) == OWN.iterations


def test_options_that_are_given_come_before_the_file(written, configured):
    path = written(GOOD)
    assert configured("--recipe", path, "--hidden-size", "16,4").hidden_sizes == (16, 4)
    assert configured("--recipe", path, "--num-layers", "2").hidden_sizes == (8,)
    assert configured("--recipe", path, "--iterations", "7").iterations == 7
    assert configured("--recipe", "quick").own_recipe is None


def test_two_recipes_of_one_name_are_not_the_same_training(golden):
    result = records.load(golden)
    one, other = (
        of_result(
            result.model_copy(
                update={
                    "config": result.config.model_copy(
                        update={"recipe": "own", "own_recipe": recipe}
                    )
                }
            ),
            "r.json",
        )
        for recipe in (OWN, replace(OWN, learning_rate=0.01))
    )
    (same,), (changed,) = compare(one, [one]), compare(one, [other])
    assert not any("recipe" in difference for difference in same.differences)
    assert "recipe learning_rate: 0.02 -> 0.01" in changed.differences


def test_a_result_that_names_no_recipe_of_ours_cannot_go_on():
    with pytest.raises(BenchError, match="unknown recipe 'quik'; did you mean 'quick'"):
        configuration.recipe_of(configuration.RunConfig(recipe="quik"))
