"""The report in a browser: no message, no request, nothing wider than the screen, and cases that can be stepped through."""

import json
import re
import shutil
import subprocess

import pytest

from invkit.evaluation.report.page import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (390, 1200)
# The page in two frames. What is found in each is written into the body, which the browser prints.
FRAMES = """<!doctype html><body>%s<pre></pre><script>
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument, view = frame.contentWindow;
    const shown = () => [...page.querySelectorAll("article")].findIndex((one) => !one.hidden);
    const steps = [shown()];
    for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft"]) {
      page.body.dispatchEvent(new view.KeyboardEvent("keydown", { key, bubbles: true }));
      steps.push(shown());
    }
    page.querySelectorAll("[data-case]")[1].click();
    steps.push(shown());
    const box = page.querySelector(".cases"), touch = (x) => new view.Touch({ identifier: 1, target: box, clientX: x, clientY: 9 });
    for (const [name, x] of [["touchstart", 200], ["touchend", 90]])
      box.dispatchEvent(new view.TouchEvent(name, { changedTouches: [touch(x)], bubbles: true }));
    steps.push(shown());
    for (const one of page.querySelectorAll("details")) one.open = true;
    const image = page.querySelector("article:not([hidden]) img");
    return {
      steps, width: page.documentElement.scrollWidth, zoom: image.getBoundingClientRect().width / image.naturalWidth,
      broken: [...page.images].filter((one) => !one.naturalWidth || !one.alt).length,
      requests: view.performance.getEntriesByType("resource").map((one) => one.name),
    };
  });
  document.querySelector("pre").textContent = JSON.stringify(found);
});
</script></body>"""


@pytest.fixture
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    return found


def test_the_report_in_a_browser(browser, toy, tmp_path):
    (tmp_path / "metrics.jsonl").write_text("".join(f'{{"step": {i}, "loss": {1 / i}}}\n' for i in range(1, 60)))
    write_report(tmp_path / "report.html", tmp_path, toy, {"versions": {"torch": "2.x" * 40}}, ["A long name " * 20])
    frames = "".join(
        f'<iframe src="report.html" width="{width}" height="900" style="border: 0"></iframe>' for width in WIDTHS
    )
    (tmp_path / "frames.html").write_text(FRAMES % frames)
    options = ("--headless=new", "--no-sandbox", "--allow-file-access-from-files", "--enable-logging=stderr",
               "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom")  # fmt: skip
    address = (tmp_path / "frames.html").as_uri()
    done = subprocess.run([browser, *options, address], capture_output=True, text=True, timeout=120, check=True)
    assert re.findall(r".*CONSOLE.*", done.stderr) == []
    frames = json.loads(re.search(r"<pre>(.*?)</pre>", done.stdout).group(1))
    for found, width in zip(frames, WIDTHS, strict=True):
        assert found["width"] <= width
        assert found["steps"] == [0, 1, 2, 1, 1, 2]
        assert found["requests"] == [] and found["broken"] == 0
        assert found["zoom"] == int(found["zoom"]) >= 1
