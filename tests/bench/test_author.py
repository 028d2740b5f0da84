"""What `bench check` tells an author: every fault by its name, all of them at once."""

import functools
import re

import pytest
import torch

from bench import author, findings
from bench.config import RunConfig
from bench.progress import Silent
from bench.remote import Inline
from bench.runner import Run
from bench.schema import Case
from impls import Entry, GeneratorConfig

SMALL = GeneratorConfig(hidden_size=6)

# class of tests/liars/faults.py, the finding that must name it, words that it must say.
FAULTS = [
    ("OtherConstructor", "construction", "raised TypeError: .*missing 1 required positional"),
    ("ForgetsItsConfig", "construction", r"must call super\(\).__init__\(config\)"),
    ("OtherNames", "weights: names", "readout.weight is missing.* out.weight is unknown.*they mus"),
    ("OtherOrder", "weights: order", "the order is .*; it must be weight_ih_l0, weight_hh_l0"),
    ("Transposed", "weights: shapes", r"weight_ih_l0 has \(1, 6\), must have \(6, 1\)"),
    ("GivesCopies", "weights: parameters", "give out no copies"),
    ("GivesSpecialTensors", "outputs: types", "is a Special; it must be a plain torch.Tensor"),
    ("GivesOneTensor", "outputs: types", r"gave a Tensor; it must give \(predictions, h_n\)"),
    ("SqueezesBatchesOfOne", "outputs: shapes", r"T=7 B=1 has \(7, 1\), must have \(7, 1, 1\)"),
    ("GivesFloat64", "outputs: dtype", "gave torch.float64 for weights and inputs of torch.f"),
    ("GivesMeta", "outputs: device", "gave a tensor on meta for inputs on cpu"),
    ("CountsCalls", "calls: the same twice", "the second answer differs by"),
    ("RemembersOtherData", "calls: others in between", "the second answer differs by"),
    ("LargestBatch", "calls: another batch size in between", "the second answer differs by"),
    ("KeepsByAddress", "calls: other data in the same memory", "not at addresses"),
    ("ReusesItsBuffers", "calls: earlier outputs stay", "overwrote what an earlier one"),
    ("ChangesInputs", "arguments unchanged", "changed in place: inputs; work on a copy"),
    ("ChangesH0", "arguments unchanged", "changed in place: h0; work on a copy"),
    ("MultipliesFreeRows", "free rows are not read", "do not multiply them by zero"),
    ("ReadsFreeRows", "free rows are not read", "the previous prediction must be read"),
    ("ReadsFreeRows", "predictions are fed back", "it read the row of inputs$"),
    ("ReadsTheFirstRowOnly", "forced rows are read", "row of step 1, 3, 6 is not read"),
    ("LooksAhead", "forced rows are read", "the row of step 6 changed predictions before it"),
    ("FeedsZeros", "predictions are fed back", "it read zeros$"),
    ("IgnoresH0", "h0 is used", "h0 of layer 0 does not change the predictions"),
    ("StateBeforeTheLast", "h_n is the last state", "it is the state before the last step"),
    ("KeepsTheFirstWeights", "weights are live", "changing weight_ih_l0, .* changed no output; a"),
    ("ReadsRawMemory", "inputs of any layout", r"call .contiguous\(\) on them"),
    ("TrainsDifferently", "train() and eval()", "differ, though there is no dropout"),
    ("DetachesAll", "train() and eval()", "carry no gradient"),
    ("WrongWhenLong", "numbers at odd sizes", r"off by 1.0e-02 at T=23 B=5, \d+ of the steps free"),
    ("NoH0Gradient", "gradient of h0", "there is none"),
    ("ZeroBiasGradient", "gradient of bias_hh_l0", "all zeros, where the largest must be"),
    ("HalfGradient", "gradient of readout.weight", "off by .*; at most 1e-05 is rounding"),
    ("DetachesFeedback", "gradient through the feedback", "must not be detached"),
    ("NeedsBothLosses", "gradients of each output", "do not add up to that of their sum"),
    ("ReplacesGradients", "gradients accumulate", "did not double the gradient of weight_ih_l0"),
    ("OneLayerOnly", "claims: 2 layers", "gave None, but it is off by"),
    ("OneFeatureOnly", "claims: 3 features", "gave None, but it is off by"),
    ("TanhOnly", "claims: relu", "compute it, or refuse it with a reason"),
    ("NeedsBiases", "claims: no biases", "raised AssertionError"),
    ("DropsNothing", "claims: dropout", "nothing is dropped"),
    ("ForwardsAlone", "claims: bidirectional", "gave None, but it is off by"),
    ("Float32Inside", "claims: the other dtype", "off by .*, where 1e-10 is rounding"),
    ("RefusesWithoutAReason", "claims: relu", "gave True; it must give None, or the reason in"),
    ("TakesEverything", "claims: reasons in words", "gave None for float16 on cpu, .* on meta"),
    ("SetsTheDefaultDtype", "settings are left alone", "the default dtype from torch.float32 to"),
    ("TakesMoreThreads", "settings are left alone", "set the number of threads to"),
    ("DrawsRandomNumbers", "settings are left alone", "changed the global random numbers"),
    ("Prints", "prints nothing", "printed 'step 7'"),
]  # fmt: skip


def entry(name):
    return Entry(f"tests.liars.faults:{name}", "has a fault")


@functools.cache
def all_findings(name, config=SMALL, dtype="float32"):
    """Name -> finding, of a class of tests/liars/faults.py; the gate is left out."""
    run = RunConfig(implementations=(name,), model=config, dtype=dtype)
    case = Case(
        implementation=name, device="cpu", dtype=dtype, model=config, task="cosine",
        status="pending",
    )  # fmt: skip
    worker = Inline(run, {name: entry(name)})
    try:
        found = findings.investigate(case, worker.ask, lambda: None)
    finally:
        worker.close()
    assert len({each.name for each in found}) == len(found)
    return {each.name: each for each in found if each.name != "gate of bench run"}


def failed(found):
    return [each.name for each in found.values() if each.verdict == "FAIL"]


@pytest.mark.parametrize(("name", "finding", "words"), FAULTS, ids=str)
def test_every_fault_is_found_by_its_name(name, finding, words):
    found = all_findings(name)[finding]
    assert found.verdict == "FAIL"
    assert re.search(words, found.text), found.text
    assert "\n" not in found.text


@pytest.mark.parametrize("name", sorted({name for name, _, _ in FAULTS} - {"ReadsFreeRows"}))
def test_a_fault_makes_few_findings(name):
    """What follows from it is left unchecked, with the reason, not told as another fault."""
    kinds = {re.sub("gradient of .*", "gradients", each) for each in failed(all_findings(name))}
    assert 1 <= len(kinds) <= 4


def test_every_check_is_made_to_fail_by_somebody():
    told = {finding for _, finding, _ in FAULTS}
    grouped = {"gradients"} if any(f.startswith("gradient of") for f in told) else set()
    untold = set(author.CHECKS) - told - grouped
    assert untold == {"claims: tanh"}  # as relu's, for a run with --nonlinearity relu


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        (SMALL, "float32"),
        (GeneratorConfig(hidden_size=5, num_layers=2, nonlinearity="relu", dropout=0.3), "float64"),
        (GeneratorConfig(hidden_size=5, bias=False, batch_first=True), "float64"),
    ],
)
def test_without_a_fault_all_is_ok(config, dtype):
    found = all_findings("Honest", config, dtype)
    assert {each.verdict for each in found.values()} == {"ok"}
    assert set(author.CHECKS) - {"gradients"} <= set(found)


def test_three_faults_show_at_once_and_nothing_else():
    found = all_findings("ThreeFaults")
    assert failed(found) == [
        "calls: the same twice",
        "calls: others in between",
        "calls: another batch size in between",
        "gradient of h0",
        "prints nothing",
    ]


def test_one_without_gradients_is_asked_for_none():
    found = all_findings("NotDifferentiable")
    assert failed(found) == []
    unchecked = [each.name for each in found.values() if each.verdict == "not checked"]
    assert unchecked == ["gradients", "gradients of each output", "gradients accumulate"]


def test_one_that_runs_no_free_steps_is_looked_at_with_all_steps_forced():
    found = all_findings("ForcedOnly")
    assert failed(found) == []
    unchecked = {each.name: each.text for each in found.values() if each.verdict == "not checked"}
    reason = "it runs no free steps, and says so"
    assert unchecked == {"free rows are not read": reason, "predictions are fed back": reason}
    assert found["gradient of weight_hh_l0"].verdict == found["h0 is used"].verdict == "ok"


def test_a_bidirectional_model_is_looked_at_with_all_steps_forced():
    config = GeneratorConfig(hidden_size=5, num_layers=2, bidirectional=True, batch_first=True)
    found = all_findings("Honest", config)
    assert failed(found) == []
    unchecked = {each.name: each.text for each in found.values() if each.verdict == "not checked"}
    reason = "bidirectional layers run no free steps"
    assert unchecked == {"free rows are not read": reason, "predictions are fed back": reason}
    assert found["gradient of weight_hh_l1_reverse"].verdict == "ok"
    wrong = all_findings("ForwardsAlone", config)
    assert "h0 of layer 0, backwards, does not change" not in wrong["h0 is used"].text
    assert {"h_n is the last state", "weights are live"} & set(failed(wrong))


def test_what_is_wrong_where_every_step_is_forced_is_found():
    found = all_findings("ForcedOnlyAndWrong")
    assert "numbers at odd sizes" in failed(found)
    assert "0 of the steps free" in found["numbers at odd sizes"].text


def test_a_refusal_is_shown_with_its_words():
    text = all_findings("RefusesWithoutAReason")["claims: 2 layers"].text
    assert text == ""
    run = RunConfig(implementations=("folded",), model=SMALL)
    checked = Run(run, None, Silent(), start=Inline).check()
    assert checked.passed
    [found] = checked.findings.values()
    [refused] = [each for each in found if each.name == "claims: 2 layers"]
    assert refused.text == "refused: folds the feedback of one layer, not of 2"


def test_settings_are_put_back_for_whoever_comes_next():
    all_findings("SetsTheDefaultDtype")
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize(
    ("name", "limit", "words"),
    [
        ("ExitsWhenTrained", 60.0, "the process ended itself with status 7"),
        ("HangsWhenTrained", 4.0, "no sign of life for 4 s; --time-limit allows for more"),
    ],
)
def test_what_was_found_before_a_crash_stays(name, limit, words):
    """In real worker processes: the crash is a finding, and whoever comes next is as ever."""
    hangs = name == "HangsWhenTrained"  # one of the two shows who comes next: workers start slowly
    names = {name: entry(name)} | ({} if hangs else {"Honest": entry("Honest")})
    run = RunConfig(implementations=tuple(names), model=SMALL, time_limit=limit)
    checked = Run(run, None, Silent(), entries=names).check()
    crashed, *honest = checked.findings.values()
    verdicts = {each.name: each.verdict for each in crashed}
    assert verdicts["weights are live"] == verdicts["numbers at odd sizes"] == "ok"
    [lost] = [each for each in crashed if each.name == "gradients"]
    assert (lost.verdict, lost.text) == ("FAIL", words)
    if hangs:  # nobody waits for a second one
        assert verdicts["prints nothing"] == "not checked"
    assert all(each.verdict == "ok" for found in honest for each in found)
    assert len(honest) == len(names) - 1
    assert not checked.passed
