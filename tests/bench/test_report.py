"""The page: what it says, and, in a real browser, that it works and asks nobody for anything."""

import math
import re
import shutil
from pathlib import Path

import pytest

from bench import records
from bench.cli import main
from bench.compare import compare
from bench.comparison_figures import MOST_ROWS, forest
from bench.observed import of_result
from bench.reporting import answers, page
from bench.schema import Sample
from tests.bench.histories import CPUS, Story, commit_of, write
from tests.bench.synthetic import steady, timed
from tests.readme import ROOT

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='hacked=1'>\"'&{{7*7}}$\\x$"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
WIDTHS = (1440, 768, 390)


def slower(name, size, batch, process):
    """As steady, but torch_cell is a fifth slower."""
    return steady(name, size, batch, process) * (1.2 if name == "torch_cell" else 1.0)


def changed(result, **changes):
    return result.model_copy(update=changes)


@pytest.fixture
def result(golden):
    return timed(golden, steady, sizes=(64,), batches=(1, 512))


@pytest.fixture
def report(capsys):
    """The command, and what it says."""

    def command(*options):
        with pytest.raises(SystemExit) as end:
            main(["report", *map(str, options)])
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return command


# What it says.


def test_the_answer_is_the_first_thing_that_is_said(result):
    assert answers.headline(result) == (
        "manual_cell is 4.0x as fast as torch_rnn in generate at batch 1 on cpu."
    )
    low, mse = answers.details(result)
    assert re.fullmatch(r"The 95% interval of that ratio: \d\.\d\dx to \d\.\d\dx\.", low)
    assert mse.startswith("Mean squared error after training: manual_cell ")
    [_, last] = answers.leaders(answers.places(result))
    assert last.startswith("generate, batch 512, cpu: manual_cell, 2.00x ±")
    assert last.endswith(" as fast as torch_cell")


def test_a_baseline_that_nothing_beats_is_said_to_be_one(result):
    config = result.config.model_copy(update={"baseline": "manual_cell"})
    assert answers.headline(changed(result, config=config)) == (
        "Nothing is faster than manual_cell in generate at batch 1 on cpu."
    )
    alone = changed(result, config=config, cases=result.cases[-1:])
    assert re.match(r"manual_cell takes [\d.]+ microseconds for a step", answers.headline(alone))
    config = result.config.model_copy(update={"baseline": "onnx_runtime"})
    assert answers.headline(changed(result, config=config)) == (
        "manual_cell is the fastest in generate at batch 1 on cpu."
    )


def test_without_times_the_most_accurate_is_named(result):
    untimed = tuple(changed(case, throughput=()) for case in result.cases)
    best = min(untimed, key=lambda case: case.accuracy.mse_mean)
    assert answers.headline(changed(result, cases=untimed)).startswith(
        f"{best.implementation} on cpu has the smallest mean squared error"
    )
    bare = tuple(changed(case, accuracy=None) for case in untimed)
    assert answers.headline(changed(result, cases=bare)) == (
        "3 of 3 cases agree with the reference; none was timed."
    )


def test_every_warning_of_a_run_is_there(result):
    quiet = result.environment.model_copy(update={"git_dirty": False, "load_average": 0.0})
    calm = changed(result, environment=quiet)
    assert answers.warnings(calm) == []
    first, second, third = calm.cases
    held = Sample(process=0, round=0, seconds=1.0, flags=("throttled",))
    row = first.throughput[0]
    row = changed(row, samples=(*row.samples, held))
    loud = changed(
        calm,
        environment=quiet.model_copy(update={"git_dirty": True, "load_average": 3.0}),
        cases=(
            changed(first, throughput=(row,)),
            changed(second, status="failed", reason="raised ValueError: no", throughput=()),
            changed(third, parity=changed(third.parity, precision="bfloat16")),
        ),
    )
    said = "\n".join(answers.warnings(loud))
    for words in (
        "torch_cell on cpu failed: raised ValueError: no.",
        "1 samples were taken while the clock was held back.",
        "The machine was busy when the run began (load 3.0 on 2 cores).",
        "The code had changes that no commit holds.",
        "manual_cell on cpu multiplies in bfloat16, and is judged by that.",
    ):
        assert words in said
    once = timed_once(result)
    assert "One process: no interval says" in answers.warnings(once)[0]
    assert answers.details(once)[0].startswith("One process has no interval")


def timed_once(result):
    """With the samples of one process alone."""
    cases = []
    for case in result.cases:
        rows = [
            changed(row, samples=tuple(s for s in row.samples if s.process == 0))
            for row in case.throughput
        ]
        cases.append(changed(case, throughput=tuple(rows)))
    environment = result.environment.model_copy(update={"git_dirty": False})
    return changed(result, cases=tuple(cases), environment=environment)


def test_a_comparison_is_told_by_its_verdicts(golden):
    base, new = (timed(golden, how, sizes=(64,), batches=(1, 8)) for how in (steady, slower))
    found = compare(of_result(base, "a"), [of_result(new, "b")])
    [said] = answers.compared(found)
    assert said.startswith("b against a: of 6 timed rows 2 slower and 4 cannot tell.")
    assert "The largest change: torch_cell on cpu, generate at batch " in said
    assert "0.83x" in said


def test_the_figure_of_a_comparison_has_a_dot_a_row(golden):
    base, new = (timed(golden, how) for how in (steady, slower))
    [found] = compare(of_result(base, "a"), [of_result(new, "b")])
    figure = forest(found)
    [axes] = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert len(names) == 36 <= MOST_ROWS
    assert names[0] == "torch_rnn, cpu, 1, H=16"
    assert set(axes.get_legend_handles_labels()[1]) == {"margin", "slower", "cannot tell"}
    low, high = axes.get_xlim()
    assert low < 0.83
    assert high > 1.0
    gone = compare(of_result(base, "a"), [of_result(changed(new, cases=()), "b")])
    assert forest(gone[0]) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1.19M", 1.19e6), ("12.5 ms", 0.0125), ("1.00x ±12%", 1.0), ("±4.3%", 4.3), ("-", None),
        (">999%", 999.0), ("+1.0e-05 ±2.0e-06", 1e-5), ("9.5e-04", 9.5e-4), ("at once", None),
        ("1,000", 1000.0), ("6.21 MiB", 6.21 * 2**20), ("", None), ("0", 0.0), ("-0.3", -0.3),
    ],
)  # fmt: skip
def test_a_cell_is_sorted_by_its_number(text, number):
    assert page.order(text) == (None if number is None else pytest.approx(number))


# Bad input.


def test_bad_input_is_told_in_one_line_and_loses_nothing(report, result, tmp_path):
    good, cut, there = tmp_path / "good.json", tmp_path / "cut.json", tmp_path / "there"
    records.save(result, good)
    cut.write_text(good.read_text()[:900])
    there.mkdir()
    (there / "index.html").write_text("mine")
    for options, message in (
        ((cut,), "is not JSON, or was cut short"),
        ((tmp_path / "none.json",), "none.json"),
        ((good, good), "is given twice"),
        ((good, "--output", there), "exists; choose another name, or add --overwrite"),
        ((good, "--output", good / "x"), "cannot write"),
    ):
        status, out, err = report(*options, *(() if "--output" in options else ("--output", there)))
        assert (status, out, err.count("\n")) == (2, "", 1), options
        assert message in err
    assert (there / "index.html").read_text() == "mine"


# In a browser.


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield found
        found.close()


class Opened:
    """A page in a tab, with what it asked for and what it complained of."""

    def __init__(self, browser, file, width=1440, scheme="light"):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        self.tab = self.context.new_page()
        self.asked, self.complaints = [], []
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.goto(f"file://{file}")

    def seconds_to_load(self):
        """Of the processor: to parse, lay out and paint the page once more, and run its script."""
        meter = self.context.new_cdp_session(self.tab)
        meter.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})
        meter.send("Performance.enable")
        before = self._busy(meter)
        self.tab.reload()
        spent = self._busy(meter)
        meter.detach()
        return spent - before if spent > before else spent  # a reload may begin anew

    @staticmethod
    def _busy(meter):
        found = meter.send("Performance.getMetrics")["metrics"]
        return next(each["value"] for each in found if each["name"] == "TaskDuration")

    def column(self, table, name):
        """What is to be seen in a column, from top to bottom."""
        return self.tab.evaluate(
            """([caption, name]) => {
                const tables = [...document.querySelectorAll('table')];
                const table = tables.find((each) => each.caption.textContent.startsWith(caption));
                const headings = [...table.tHead.rows[0].cells];
                const place = headings.findIndex((each) => each.textContent.trim() === name);
                const rows = [...table.tBodies[0].rows].filter((row) => row.offsetParent !== null);
                return rows.map((row) => row.cells[place].textContent);
            }""",
            [table, name],
        )

    def heading(self, table, name):
        found = self.tab.locator("table").filter(has=self.tab.locator("caption", has_text=table))
        return found.get_by_role("button", name=name, exact=True)


@pytest.fixture
def opened_from(browser, report, tmp_path):
    """Opens the page that options of the command make; gives what it said on the way, too."""
    tabs = []

    def open_page(*options, **how):
        status, _, err = report(*options, "--output", tmp_path / "page", "--overwrite")
        assert status == 0, err
        tabs.append(Opened(browser, tmp_path / "page" / "index.html", **how))
        return tabs[-1], err

    yield open_page
    for tab in tabs:
        tab.context.close()


@pytest.fixture
def opened(opened_from, tmp_path):
    """Opens the page of results."""

    def open_page(*results, **how):
        files = []
        for number, result in enumerate(results):
            files.append(tmp_path / f"{number}.json")
            records.save(result, files[-1])
        found, err = opened_from(*files, **how)
        assert err == ""
        return found

    return open_page


def test_it_asks_nobody_for_anything(opened, result):
    found = opened(result, changed(result, created_at="2026-01-02T00:00:00+00:00"))
    assert [url.rpartition("/")[2] for url in found.asked] == ["index.html"]
    assert found.complaints == []
    # And could not, whatever stood in it.
    refused = "fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')"
    assert found.tab.evaluate(refused) == "refused"
    assert "Content Security Policy" in found.complaints[0]
    injected = (
        "(() => { const s = document.createElement('script'); s.textContent = 'window.x = 1';"
    )
    injected += " document.body.append(s); return window.x === undefined; })()"
    assert found.tab.evaluate(injected)


def test_a_column_is_sorted_up_down_and_back(opened, result):
    first, second, third = result.cases
    found = opened(changed(result, cases=(first, second, changed(third, accuracy=None))))
    table = "Accuracy"
    given = found.column(table, "mean")
    assert given[2] == "-"
    numbers = sorted(float(text) for text in given if text != "-")
    for state, wanted in (
        ("ascending", [*numbers, "-"]),
        ("descending", [*reversed(numbers), "-"]),
        ("none", None),
    ):
        heading = found.heading(table, "mean")
        heading.click()
        assert heading.locator("..").get_attribute("aria-sort") == state
        seen = found.column(table, "mean")
        assert seen == given if wanted is None else [
            text if text == "-" else float(text) for text in seen
        ] == wanted  # fmt: skip


def test_a_column_of_words_is_sorted_by_the_keyboard(opened, result):
    found = opened(result)
    heading = found.heading("Parity", "implementation")
    heading.focus()
    found.tab.keyboard.press("Enter")
    names = found.column("Parity", "implementation")
    assert names == sorted(names) == ["manual_cell", "torch_cell", "torch_rnn"]
    found.tab.keyboard.press("Tab")
    assert found.tab.evaluate("document.activeElement.textContent") == "device"


def test_rows_are_filtered(opened, result):
    found = opened(result)
    found.tab.get_by_label("batch").select_option("512")
    assert set(found.column("Throughput", "batch")) == {"512"}
    assert len(found.column("Accuracy", "mean")) > 3  # which has no batch to be chosen by
    found.tab.get_by_label("implementation").select_option("torch_cell")
    assert found.column("Throughput", "implementation") == ["torch_cell"]
    assert re.fullmatch(r"\d+ of \d+ rows", found.tab.locator("output").inner_text())
    found.tab.get_by_role("button", name="all rows").click()
    found.tab.locator("output", has_text=re.compile("^$")).wait_for(state="attached")
    assert len(found.column("Throughput", "batch")) == 6


def test_two_files_are_compared(opened, golden):
    base, new = (timed(golden, how, sizes=(64,), batches=(1, 8)) for how in (steady, slower))
    found = opened(base, new)
    lead = found.tab.locator("header .lead").inner_text()
    assert "of 6 timed rows 2 slower and 4 cannot tell" in lead
    assert found.column("Throughput: steps per second", "verdict").count("slower") == 2
    figure = found.tab.get_by_role("img").first
    assert "1.json against" in figure.get_attribute("aria-label")
    assert "slower" in figure.text_content()  # text is text, and can be searched
    ids = found.tab.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids)) > 100


def test_dark_mode_is_dark(opened, result):
    grounds, inks = {}, {}
    for scheme in ("light", "dark"):
        found = opened(result, scheme=scheme)
        grounds[scheme] = found.tab.evaluate("getComputedStyle(document.body).backgroundColor")
        line = "getComputedStyle(document.querySelector('figure svg text')).fill"
        inks[scheme] = found.tab.evaluate(line)
    for found, dark, light in ((grounds, "dark", "light"), (inks, "light", "dark")):
        sums = {name: sum(map(int, re.findall(r"\d+", text)[:3])) for name, text in found.items()}
        assert sums[dark] < 150
        assert sums[light] > 600


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nobody_is_shut_out(opened, result, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    failed = changed(result.cases[0], status="failed", reason="raised", throughput=())
    one = changed(result, cases=(failed, *result.cases[1:]))
    found = opened(result, one, width=width, scheme=scheme)
    violations = axe.Axe().run(found.tab).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in violations] == []
    # A page is never wider than its screen; tables scroll by themselves.
    assert found.tab.evaluate("document.documentElement.scrollWidth") <= width


def test_what_a_file_says_is_never_markup(opened, result):
    first, *others = result.cases
    hostile = changed(
        result,
        config=result.config.model_copy(update={"recipe": HOSTILE}),
        environment=result.environment.model_copy(update={"cpu": HOSTILE, "os": HOSTILE}),
        cases=(changed(first, status="failed", reason=HOSTILE, throughput=()), *others),
    )
    found = opened(hostile, result)
    assert found.complaints == []
    assert found.tab.evaluate("window.hacked") is None
    assert found.tab.locator("img").count() == 0
    assert found.tab.locator("script").count() == 1
    assert f"failed: {HOSTILE}." in found.tab.locator(".warnings").first.inner_text()
    assert HOSTILE in found.tab.locator("dl").first.inner_text()
    losses = found.tab.get_by_role("img", name="Training loss").first
    assert HOSTILE in losses.text_content()


def test_two_hundred_cases_are_a_small_page_that_is_there_at_once(opened):
    reference = ROOT / "results" / "reference" / "cpu.json"
    many = timed(reference, steady, sizes=tuple(range(8, 8 + 67)), batches=(1, 32))
    assert len(many.cases) == 201
    found = opened(many)
    page_file = Path(found.tab.url.removeprefix("file://"))
    assert page_file.stat().st_size < 5e6
    assert min(found.seconds_to_load() for _ in range(4)) < 2.0  # others only ever take from it
    assert "The 8 most accurate of 201 cases." in found.tab.locator(".figures").inner_text()
    assert len(found.column("Throughput", "batch")) == 402


def test_a_sweep_s_folder_is_one_answer(opened_from, golden, tmp_path):
    folder = tmp_path / "sweep"
    folder.mkdir()
    for size in (8, 16, 32, 64, 128):
        part = timed(golden, steady, sizes=(size,), batches=(1, 8, 64, 512))
        clean = part.environment.model_copy(update={"git_dirty": False})
        records.save(changed(part, environment=clean), folder / f"h{size}.json")
    (folder / "sweep.json").write_text('{"kind": "sweep"}')
    (folder / "cut.json").write_text("{")
    found, err = opened_from(folder)
    assert err.startswith("left out: ")
    assert found.tab.get_by_role("heading", level=2).all_inner_texts() == [str(folder)]
    assert set(found.column("Throughput", "H")) == {"8", "16", "32", "64", "128"}
    assert len(found.column("Scaling", "H")) == 20
    leaders = found.tab.locator(".leaders").inner_text()
    assert "generate, cpu, of 20 hidden and batch sizes: " in leaders
    assert found.tab.locator(".leaders li").count() == 1
    rows = len(found.column("Throughput", "H"))
    found.tab.locator("select[name=H]").select_option("32")
    assert found.column("Throughput", "H") == ["32"] * (rows // 5)
    names = [each.get_attribute("aria-label") for each in found.tab.get_by_role("img").all()]
    assert "How it scales: generate over hidden size" in names
    assert "How it scales: generate over batch size" in names


def test_a_history_is_a_part_of_the_page(opened_from, result, golden, tmp_path):
    pytest.importorskip("ruptures", reason="needs the extra history")
    folder, file = tmp_path / "results", tmp_path / "one.json"
    folder.mkdir()
    records.save(result, file)
    stories = {(CPUS[0], "manual_cell", "generate"): Story({20: math.log(1.5)})}
    write(folder, golden, stories, runs=40)
    (folder / "000003.json").write_text("<script>window.hacked = 1</script>")
    found, _ = opened_from(file, "--history", folder)
    part = found.tab.get_by_role("region", name="History", exact=True)
    lead = part.locator(".lead").inner_text()
    assert lead.startswith("1 change in 1 of 1 case. The last: manual_cell, generate at batch")
    assert commit_of(20)[:7] in lead
    assert found.column("Changes", "verdict") == ["slower"]
    assert len(found.column("History", "course")) == 1
    assert commit_of(20)[:7] in part.get_by_role("img").text_content()
    assert "#ffffff" not in part.get_by_role("img").inner_html()  # no white in the dark
    assert "000003.json" in part.locator(".warnings").inner_text()
    assert found.tab.get_by_role("link", name="history", exact=True).count() == 1
    ids = found.tab.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids))
    assert (found.complaints, found.tab.evaluate("window.hacked")) == ([], None)
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    assert axe.Axe().run(found.tab).response["violations"] == []


def test_a_history_alone_is_a_page(report, golden, tmp_path):
    pytest.importorskip("ruptures", reason="needs the extra history")
    folder = tmp_path / "results"
    folder.mkdir()
    write(folder, golden, {(CPUS[0], "manual_cell", "generate"): Story()}, runs=3)
    status, _, err = report("--history", folder, "--output", tmp_path / "page")
    assert (status, err) == (0, "")
    text = (tmp_path / "page" / "index.html").read_text()
    assert f"<h1>History of {folder}</h1>" in text
    assert "has surely changed its level" in text
    status, out, err = report("--history", tmp_path, "--output", tmp_path / "other")
    assert (status, out, err.count("\n")) == (2, "", 1)
    status, out, err = report("--output", tmp_path / "other")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "name a result file" in err


def test_on_paper_there_is_nothing_to_click(opened, result):
    found = opened(result)
    found.tab.emulate_media(media="print")
    assert not found.tab.locator(".filters").is_visible()
    assert found.tab.locator("h1").is_visible()
