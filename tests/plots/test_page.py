"""Pages are complete, escaped and the same each time."""

import base64
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np

from wprops.plots.fits import plot_pulls
from wprops.plots.page import (
    KeyNumber,
    Section,
    Table,
    format_cell,
    picture,
    render,
    table_of_records,
)
from wprops.plots.style import SampleLabel

VOID = {"meta", "img"}
HOSTILE = "<script>alert('x')</script> & \"quotes\""


class Balance(HTMLParser):
    """Collects tags that do not close and everything a browser would load."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parse(page):
    parser = Balance()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def make_page():
    figure = plot_pulls(np.array([0.1, -1.2]), title="two", label=SampleLabel())
    section = Section(
        title=HOSTILE,
        key_numbers=[
            KeyNumber(name=HOSTILE, value="1", note=HOSTILE, is_good=True),
            KeyNumber(name="none", value="2"),
        ],
        paragraphs=[HOSTILE],
        figures=[picture(figure, HOSTILE)],
        tables=[table_of_records(HOSTILE, [{"cut": HOSTILE, "events": 1234.5}])],
        text=HOSTILE,
    )
    return render(HOSTILE, HOSTILE, [section])


def test_a_page_is_well_formed_and_loads_nothing():
    parser = parse(make_page())
    assert parser.links
    for link in parser.links:
        assert link.startswith(("#section-", "data:image/svg+xml;base64,"))


def test_text_is_escaped_wherever_it_stands():
    page = make_page()
    assert "<script" not in page
    shown = "".join(parse(page).text)
    # title twice, subtitle, navigation, heading, number and note, paragraph,
    # caption of figure and table, cell, text
    assert shown.count(HOSTILE) == 12


def test_pictures_are_vector_graphics_without_a_date():
    parser = parse(make_page())
    (link,) = [link for link in parser.links if link.startswith("data:")]
    svg = base64.b64decode(link.partition(",")[2])
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert b"dc:date" not in svg


def test_the_same_content_gives_the_same_page():
    assert make_page() == make_page()


def test_numbers_are_aligned_and_words_are_not():
    table = Table(caption="c", columns=["a", "b"], rows=[["word", 1234567]])
    page = render("t", "s", [Section(title="s", tables=[table])])
    assert "<td>word</td>" in page
    assert '<td class="number">1,234,567</td>' in page


def test_missing_values_of_records_stay_empty():
    table = table_of_records("c", [{"a": 1}, {"b": True}])
    assert table.columns == ["a", "b"]
    assert [[format_cell(v) for v in row] for row in table.rows] == [
        ["1", ""],
        ["", "True"],
    ]


def test_numbers_without_a_value_are_shown_as_such():
    assert [format_cell(value) for value in (np.nan, np.inf, -0.5)] == [
        "nan",
        "inf",
        "-0.5",
    ]
