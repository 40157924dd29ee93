"""The report in a real browser: it renders, asks nothing of the network, sorts, zooms, and fits a phone."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from browser import Browser, Watched, open_browser
from command_line import bnfold_process
from support import MODELS, REAL_MODELS, needs_real_models

import bnfold
from bnfold.report.html.page import Section, Verdict, page
from bnfold.report.html.tables import number, table

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 360, "height": 720}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    model = shutil.copy(MODELS / "residual.onnx", folder / "residual.onnx")
    assert bnfold_process("fold", model, "--html", folder / "report.html").status == 0
    return folder / "report.html"


def background(watched: Watched) -> str:
    return str(watched.page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_it_renders_without_a_complaint_and_without_the_network(browser: Browser, report: Path) -> None:
    watched = Watched(browser, report)
    assert watched.page.locator("h1").inner_text() == "bnfold fold: residual.onnx"
    assert watched.page.get_by_text("The two graphs compute the same").is_visible()
    box = watched.page.locator("details[open] svg .box.removed").first.bounding_box()
    assert box is not None
    assert box["width"] > 20
    assert watched.complaints == []
    assert watched.requests == []


def test_a_click_on_a_heading_sorts_and_a_second_one_turns_it_round(browser: Browser, report: Path) -> None:
    watched = Watched(browser, report)
    table = watched.page.locator("section:has(#weights) table")
    heading = table.locator("th", has_text="max after")
    column = [text.startswith("max after") for text in table.locator("th").all_inner_texts()].index(True)

    def values() -> list[float]:
        return [float(row.locator("td").nth(column).get_attribute("data-value") or "") for row in rows]

    rows = table.locator("tbody tr").all()
    assert heading.get_attribute("aria-sort") == "none"
    assert values() != sorted(values())
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(values())
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True)
    table.locator("th button").first.press("Enter")
    assert heading.get_attribute("aria-sort") == "none"
    texts = [row.locator("td").first.inner_text() for row in table.locator("tbody tr").all()]
    assert texts == sorted(texts)


def test_cells_without_a_number_come_last_whichever_way_it_is_sorted(browser: Browser, tmp_path: Path) -> None:
    rows = [[number(value)] for value in (2.0, None, math.inf, 1.0)]
    text = page("t", Verdict("v", "good"), {}, [Section("s", "S", table("c", ("n",), rows))])
    (tmp_path / "r.html").write_text(text, encoding="utf-8")
    watched = Watched(browser, tmp_path / "r.html")
    for expected in (["1.00e+00", "2.00e+00", "inf", ""], ["inf", "2.00e+00", "1.00e+00", ""]):
        watched.page.locator("th button").click()
        assert watched.page.locator("tbody td").all_inner_texts() == expected


def test_a_picture_is_enlarged_and_moved_by_buttons_keys_wheel_and_mouse(browser: Browser, report: Path) -> None:
    watched = Watched(browser, report)
    page, picture = watched.page, watched.page.locator("details[open] .picture").first
    scene = picture.locator(".scene")

    def transform() -> str | None:
        found: str | None = scene.get_attribute("transform")
        return found

    assert transform() is None
    page.locator("details[open] button", has_text="+").first.click()
    enlarged = transform()
    assert enlarged is not None
    assert "scale(1.3)" in enlarged
    picture.press("ArrowRight")
    assert transform() not in (None, enlarged)
    picture.press("0")
    assert transform() == "translate(0 0) scale(1)"
    picture.press("+")
    assert "scale(1.3)" in (transform() or "")
    before = transform()
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 - 30, box["y"] + 60)
    page.mouse.up()
    assert transform() != before
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    page.wait_for_function("e => e.getAttribute('transform').includes('scale(1.69')", arg=scene.element_handle())
    assert watched.complaints == []


def test_a_picture_is_enlarged_with_two_fingers(browser: Browser, report: Path) -> None:
    watched = Watched(browser, report, **PHONE)
    picture = watched.page.locator("details[open] .picture").first
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + 80
    session = watched.page.context.new_cdp_session(watched.page)

    def touch(kind: str, *across: float) -> None:
        points = [{"x": x + by, "y": y, "id": number} for number, by in enumerate(across)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", -20, 20)
    for far in (30, 40, 50):
        touch("touchMove", -far, far)
    touch("touchEnd")
    scale = str(picture.locator(".scene").get_attribute("transform")).partition("scale(")[2]
    assert float(scale.rstrip(")")) > 1.5
    assert watched.complaints == []


def test_light_and_dark_are_the_systems_and_a_button_turns_them_round(browser: Browser, report: Path) -> None:
    light, dark = (Watched(browser, report, color_scheme=scheme) for scheme in ("light", "dark"))
    assert background(light) != background(dark)
    seen = background(dark)
    light.page.locator("button.theme").click()
    assert background(light) == seen
    light.page.locator("button.theme").click()
    assert background(light) != seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(browser: Browser, report: Path, scheme: str) -> None:
    watched = Watched(browser, report, color_scheme=scheme)
    watched.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = watched.page.evaluate(CONTRASTS)
    assert len(found) > 20
    assert [entry for entry in found if entry[0] < 4.5] == []


def test_a_phone_does_not_scroll_sideways(browser: Browser, report: Path) -> None:
    watched = Watched(browser, report, **PHONE)
    watched.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert watched.page.evaluate("document.documentElement.scrollWidth") == 360
    tables = watched.page.locator(".scroll").all()
    assert any(table.evaluate("box => box.scrollWidth > box.clientWidth") for table in tables)


def test_a_link_in_a_table_opens_the_picture(browser: Browser, report: Path) -> None:
    watched = Watched(browser, report)
    last = watched.page.locator("section:has(#folded) tbody a").last
    picture = watched.page.locator(last.get_attribute("href") or "")
    assert picture.get_attribute("open") is None
    last.click()
    watched.page.wait_for_function("one => one.open", arg=picture.element_handle())


def test_it_can_be_read_without_a_script(browser: Browser, report: Path) -> None:
    watched = Watched(browser, report, java_script_enabled=False)
    assert watched.page.get_by_text("Every affine that is gone").is_visible()
    assert watched.page.locator("details[open] svg").first.is_visible()
    assert watched.page.locator("th").first.inner_text() == "place"


def test_names_that_are_meant_to_do_harm_are_only_shown(browser: Browser, tmp_path: Path) -> None:
    evil = (
        "</script></title></style><img src=x onerror=document.title='caught'><script>document.title='caught'</script>"
    )
    model = onnx.load(MODELS / "residual.onnx")
    for node in model.graph.node:
        node.name = f"{evil}{node.name}\u202e"
    onnx.save(model, tmp_path / "m.onnx")
    (tmp_path / "r.html").write_text(bnfold.to_html(bnfold.fold(tmp_path / "m.onnx"), name=evil), encoding="utf-8")
    watched = Watched(browser, tmp_path / "r.html")
    assert watched.page.title() == f"bnfold fold: {evil}"
    assert watched.page.locator("img, section script").count() == 0
    assert watched.page.locator("h1").inner_text() == f"bnfold fold: {evil}"
    assert watched.complaints == []
    assert watched.requests == []


def test_a_script_that_came_in_all_the_same_is_not_run(browser: Browser, report: Path, tmp_path: Path) -> None:
    text = report.read_text(encoding="utf-8")
    place = tmp_path / "r.html"
    place.write_text(
        text.replace(
            "<main>", "<main><img src=x onerror=document.title='caught'><script>document.title='caught'</script>"
        )
    )
    watched = Watched(browser, place)
    assert watched.page.title() == "bnfold fold: residual.onnx"
    assert sum("Content Security Policy" in complaint for complaint in watched.complaints) >= 3


@needs_real_models
@pytest.mark.parametrize("name", ["light_densenet121.onnx", "light_shufflenet.onnx", "fsanet_1x1.onnx"])
def test_real_models_render_on_a_phone(browser: Browser, tmp_path: Path, name: str) -> None:
    page = tmp_path / "r.html"
    page.write_text(bnfold.to_html(bnfold.fold(REAL_MODELS / name), name=name), encoding="utf-8")
    assert page.stat().st_size < 4_000_000
    watched = Watched(browser, page, **PHONE)
    watched.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert watched.page.evaluate("document.documentElement.scrollWidth") == 360
    assert watched.page.evaluate(OUTSIDE) == []
    assert watched.complaints == []


OUTSIDE = """() => [...document.querySelectorAll("svg .box text")].filter((text) => {
  const [own, box] = [text.getBBox(), text.parentElement.querySelector("rect").getBBox()];
  return own.x < 0 || own.x + own.width > box.width || own.y + own.height > box.height + 3;
}).map((text) => text.textContent)"""

CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const channels = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const linear = (c) => (c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
    const [r, g, b] = channels(colour).map((c) => linear(c / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = (element) => {
    const rect = element.parentElement.querySelector(":scope > rect");
    const filled = element instanceof SVGElement && rect ? getComputedStyle(rect).fill : "none";
    if (filled !== "none") return filled;
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (channels(colour)[3] === 255) return colour;
    }
    return "white";
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || ["SCRIPT", "STYLE", "title"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const [one, other] = [light(element instanceof SVGElement ? style.fill : style.color), light(behind(element))];
    const ratio = (Math.max(one, other) + .05) / (Math.min(one, other) + .05);
    found.push([Math.round(ratio * 100) / 100, element.tagName, element.textContent.slice(0, 40)]);
  }
  return found;
}"""
