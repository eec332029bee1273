# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTML report as a browser sees it."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import typing as t

import classroom
import pytest
from ansible_collections.ebpf.lab.plugins.plugin_utils import report, results
from ansible_collections.ebpf.lab.plugins.plugin_utils.summary import summarise
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "tests" / "output" / "report"


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The address of a page for each class of classroom.py."""
    found = {}
    for kind in ("small", "states", "hostile", "hundred"):
        kept, out = tmp_path_factory.mktemp(kind), tmp_path_factory.mktemp(f"{kind}-out")
        getattr(classroom, kind)(str(kept))
        machines, wrong = results.load_all(str(kept), "lecture2")
        assert wrong == []
        summary = summarise("lecture2", machines, ["lab-101"] if kind == "hundred" else [], "2026-11-22T10:45:00Z")
        found[kind] = f"file://{report.write(str(out), summary)['html']}"
    return found


def shown(browser: t.Any) -> list[str]:
    """The names of the rows that can be seen, in their order."""
    names = browser.find_elements(By.CSS_SELECTOR, "tbody:not([hidden]) tr:first-child th bdi:first-of-type")
    return [
        name.text for name in names if name.is_displayed() and name.find_element(By.XPATH, "..").tag_name != "small"
    ]


def head(browser: t.Any, name: str) -> t.Any:
    return browser.find_element(By.XPATH, f"//thead//button[normalize-space()='{name}']")


def width(browser: t.Any, pixels: int, mobile: bool = False) -> None:
    screen = {"width": pixels, "height": 844, "deviceScaleFactor": 1, "mobile": mobile}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def screenshot(browser: t.Any, name: str) -> None:
    """Kept for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    data = browser.execute_cdp_cmd("Page.captureScreenshot", {})["data"]
    (SCREENSHOTS / f"{name}.png").write_bytes(base64.b64decode(data))


def test_rows_stages_and_failures(browser: t.Any, pages: dict[str, str]) -> None:
    browser.get(pages["small"])
    assert shown(browser) == ["s1", "s2", "s3", "s10"]
    rows = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "tbody > tr:first-child")]
    assert "Unreachable" in rows[2] and "No route to host" in rows[2]
    assert "1/5" in rows[1] and "3 broke" in rows[1]
    detail = browser.find_element(By.CSS_SELECTOR, "tbody:nth-of-type(2) .detail")
    assert not detail.is_displayed()
    browser.find_element(By.CSS_SELECTOR, "tbody:nth-of-type(2) th button").click()
    for text in ("xdp_hello is attached to veth1", '"xdp_hello"', '"xdp_drop"', "Attach it:", "at least 3", "broke"):
        assert text in detail.text
    screenshot(browser, "small")


def test_sorting(browser: t.Any, pages: dict[str, str]) -> None:
    browser.get(pages["small"])
    head(browser, "Machine").click()
    assert shown(browser) == ["s10", "s3", "s2", "s1"]
    assert head(browser, "Machine").find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"
    head(browser, "Points").click()
    assert shown(browser) == ["s3", "s1", "s2", "s10"]
    head(browser, "Points").click()
    assert shown(browser) == ["s10", "s1", "s2", "s3"]
    head(browser, "hello").click()
    assert shown(browser) == ["s3", "s10", "s1", "s2"]
    head(browser, "Verified").click()
    assert shown(browser) == ["s1", "s2", "s10", "s3"]
    head(browser, "Changed").click()
    assert shown(browser)[0] == "s2"
    sorts = [cell.get_attribute("aria-sort") for cell in browser.find_elements(By.CSS_SELECTOR, "thead th")]
    assert sorts.count("none") == len(sorts) - 1


def test_filtering(browser: t.Any, pages: dict[str, str]) -> None:
    browser.get(pages["small"])
    count = browser.find_element(By.ID, "count")
    chips = {"in progress": ["s1", "s2", "s10"], "unreachable": ["s3"], "drifted": ["s2"]}
    for value, names in chips.items():
        browser.find_element(By.CSS_SELECTOR, f".chip input[value='{value}']").click()
        assert shown(browser) == names
        assert count.get_attribute("value") == f"{len(names)} of 4 machines shown"
    browser.find_element(By.CSS_SELECTOR, ".chip input[value=all]").click()
    box = browser.find_element(By.ID, "filter")
    box.send_keys("pings REACH")
    assert shown(browser) == ["s2", "s10"]
    box.send_keys(" nowhere")
    assert shown(browser) == []
    assert browser.find_element(By.ID, "nothing").is_displayed()
    box.send_keys(Keys.ENTER)  # a form that is sent would leave the page
    assert browser.current_url == pages["small"]
    head(browser, "Machine").click()
    box.clear()
    box.send_keys("s")
    assert len(shown(browser)) == 4


def test_the_keyboard_is_enough(browser: t.Any, pages: dict[str, str]) -> None:
    browser.get(pages["small"])
    button = browser.find_element(By.CSS_SELECTOR, "tbody th button[aria-expanded]")
    seen = []
    for _press in range(40):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        seen.append(browser.switch_to.active_element)
        if seen[-1] == button:
            break
    assert seen[-1] == button
    button.send_keys(Keys.ENTER)
    assert button.get_attribute("aria-expanded") == "true"
    assert browser.find_element(By.ID, button.get_attribute("aria-controls")).is_displayed()
    button.send_keys(Keys.SPACE)
    assert button.get_attribute("aria-expanded") == "false"
    head(browser, "Points").send_keys(Keys.ENTER)
    assert shown(browser)[0] == "s3"


def test_the_tree_that_a_screen_reader_gets(browser: t.Any, pages: dict[str, str]) -> None:
    browser.get(pages["small"])
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles: dict[str, list[str]] = {}
    for node in nodes:
        if not node.get("ignored"):
            roles.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    assert len(roles["rowheader"]) == 4 and len(roles["columnheader"]) == 12
    assert {"heading", "main", "table", "radio", "searchbox", "search"} <= set(roles)
    assert all(name for role in ("radio", "searchbox", "button", "table", "rowheader") for name in roles[role])
    cells = roles["cell"] + roles.get("gridcell", [])
    assert any("passed" in cell for cell in cells) and any("in progress" in cell for cell in cells)


@pytest.mark.case("K22")
def test_the_best_stays_and_the_whole_lab_counts(browser: t.Any, pages: dict[str, str]) -> None:
    browser.get(pages["states"])
    assert browser.title == "lecture2: 2 of 4 machines pass"
    rows = dict(zip(shown(browser), browser.find_elements(By.CSS_SELECTOR, "tbody > tr:first-child")))
    assert "40/40" in rows["lost"].text and "now 1/5" in rows["lost"].text
    assert "5/40" in rows["again"].text and "rebooted since" in rows["again"].text
    assert "Not started" in rows["bare"].text and "0/40" in rows["bare"].text
    assert not rows["bare"].find_elements(By.CSS_SELECTOR, ".pill, button")
    for value, names in {"passed": ["all", "lost"], "in progress": ["again"], "not started": ["bare"]}.items():
        browser.find_element(By.CSS_SELECTOR, f".chip input[value='{value}']").click()
        assert shown(browser) == names
    browser.find_element(By.CSS_SELECTOR, ".chip input[value=all]").click()
    rows["lost"].find_element(By.CSS_SELECTOR, "th button").click()
    assert "1 of 5 points" in browser.find_element(By.CSS_SELECTOR, "tbody.open .detail").text
    screenshot(browser, "states")


def test_hostile_answers_are_text(browser: t.Any, pages: dict[str, str]) -> None:
    browser.get(pages["hostile"])
    browser.find_element(By.ID, "all").click()
    assert browser.title == "lecture2: 0 of 4 machines pass"
    text = browser.find_element(By.TAG_NAME, "body").text
    assert "<script>document.title='owned'</script>" in text
    assert "{{ lookup('pipe', 'touch /tmp/owned') }}" in text
    assert "\\x1b[2J\\u202e\\x00\\ud800" in text
    assert "(cut: 10000000 characters)" in text
    assert not pathlib.Path("/tmp/owned").exists()
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 1
    assert browser.find_elements(By.CSS_SELECTOR, "img, iframe, object, embed, [onmouseover], [style], a[href]") == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert len(browser.page_source) < 200_000
    screenshot(browser, "hostile")


def test_the_policy_stops_what_gets_past_the_escaping(browser: t.Any, pages: dict[str, str]) -> None:
    browser.get(pages["small"])
    browser.execute_script(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1\">');"
        "const s = document.createElement('script'); s.textContent = 'document.title = 2'; document.body.append(s);"
    )
    assert browser.title.startswith("lecture2")
    refused = [
        entry["message"] for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]
    ]
    assert len(refused) >= 2


def test_it_asks_nobody_for_anything(browser: t.Any, pages: dict[str, str]) -> None:
    browser.get(pages["hundred"])
    browser.find_element(By.ID, "all").click()
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith("data:")} == {pages["hundred"]}
    source = pathlib.Path(pages["hundred"].removeprefix("file://")).read_text(encoding="utf-8")
    assert "http://" not in source and "https://" not in source


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_hundred_rows_on_a_laptop(browser: t.Any, pages: dict[str, str], scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(pages["hundred"])
    assert len(shown(browser)) == 100
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    heights = browser.execute_script(
        "return [...document.querySelectorAll('tr.passed')].map((row) => row.offsetHeight)"
    )
    assert max(heights) <= 34  # two dozen machines on a screen
    ground = browser.execute_script("return getComputedStyle(document.documentElement).backgroundColor")
    brightness = sum(int(part) for part in ground[4:-1].split(","))
    assert brightness > 600 if scheme == "light" else brightness < 150
    browser.execute_script("scrollTo(0, 2000)")
    assert browser.find_element(By.CSS_SELECTOR, "thead th").rect["y"] >= 2000  # the header stays
    browser.execute_script("scrollTo(0, 0)")
    screenshot(browser, f"laptop-{scheme}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser: t.Any, pages: dict[str, str], scheme: str) -> None:
    """WCAG 2.1 AA wants 4.5 : 1 for text of this size."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(pages["hundred"])
    names = "text soft pass fail warn accent ground surface fail-ground warn-ground code hover".split()
    read = "return arguments[0].map((name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name))"
    colours = dict(zip(names, browser.execute_script(read, names)))

    def luminance(name: str) -> float:
        digits = colours[name].strip().lstrip("#")
        digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
        parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    pairs = [(ink, ground) for ink in ("text", "soft", "pass", "fail") for ground in ("ground", "surface", "hover")]
    for ink, ground in [
        *pairs,
        ("fail", "fail-ground"),
        ("warn", "warn-ground"),
        ("text", "code"),
        ("accent", "surface"),
    ]:
        lighter, darker = sorted((luminance(ink), luminance(ground)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, f"{ink} on {ground}"


@pytest.mark.parametrize("kind", ["hundred", "hostile"])
def test_on_a_phone(browser: t.Any, pages: dict[str, str], kind: str) -> None:
    width(browser, 390, mobile=True)
    browser.get(pages[kind])
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    browser.find_element(By.CSS_SELECTOR, "tbody th button").click()
    sheet = browser.find_element(By.CSS_SELECTOR, "tbody.open .sheet")
    # The table scrolls sideways, the machine's name and what failed stay where they are.
    browser.execute_script("document.querySelector('.scroll').scrollLeft = 300")
    name = browser.find_element(By.CSS_SELECTOR, "tbody th")
    assert 0 <= name.rect["x"] < 40
    assert sheet.rect["x"] >= 0 and sheet.rect["x"] + sheet.rect["width"] <= 390
    size = browser.execute_script("return parseFloat(getComputedStyle(arguments[0]).fontSize)", name)
    assert size >= 14
    browser.execute_script("document.querySelector('.scroll').scrollLeft = 0")
    screenshot(browser, f"phone-{kind}")


def test_printed_it_shows_what_failed(browser: t.Any, pages: dict[str, str]) -> None:
    browser.get(pages["small"])
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert all(detail.is_displayed() for detail in browser.find_elements(By.CSS_SELECTOR, ".detail"))
    assert not browser.find_element(By.CSS_SELECTOR, ".controls").is_displayed()
    data = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    assert data.startswith(b"%PDF") and len(data) > 5000


def test_without_script_all_is_there(browser: t.Any, pages: dict[str, str]) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(pages["small"])
        nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        text = " ".join(node.get("name", {}).get("value", "") for node in nodes if not node.get("ignored"))
        assert "Attach it: bpftool net attach" in text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_an_empty_report_says_so(browser: t.Any, tmp_path: pathlib.Path) -> None:
    paths = report.write(str(tmp_path), summarise("lecture2", [], [], "2026-11-22T10:45:00Z", ["a <b> is left out."]))
    browser.get(f"file://{paths['html']}")
    text = browser.find_element(By.TAG_NAME, "body").text
    assert "No results yet" in text and "a <b> is left out." in text
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert sorted(os.listdir(tmp_path)) == [
        "lecture2.csv",
        "lecture2.html",
        "lecture2.json",
        "lecture2.junit.xml",
    ]
