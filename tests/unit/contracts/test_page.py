"""A contract as a page of HTML: complete, and with every value escaped."""

import re
from typing import Any

from edgy_bus.contracts import read
from edgy_bus.contracts.page import page
from edgy_bus.operations import Catalogue, CataloguedModel, Subscriber


def test_the_page_needs_no_other_file_and_names_everything(document: Any) -> None:
    html = page(read(document, "shop"))
    assert not re.search(r"(src|href)=\"(?!#)|@import|url\(", html)
    for text in (
        *("shop.Order", "Somebody who buys.", "where bills go", "post_update"),
        *("list[OrderLine]", "dt.timedelta", "edgy:{shop.Order:0}:events", "billing/bill"),
    ):
        assert text in html
    assert "password" not in html
    assert "Who publishes" not in html


def test_a_catalogue_says_who_publishes_and_who_subscribes(document: Any) -> None:
    models = (
        CataloguedModel("shop.Order", "shop", 8, (Subscriber("post_save", "billing", "bill", 2),)),
        CataloguedModel("lost.Model", "lost", None, ()),
    )
    html = page(read(document, "shop"), Catalogue(models))
    assert "billing/bill" in html
    assert "(2 live)" in html
    assert '<span class="bad">nobody</span>' in html


def test_every_value_is_escaped(document: Any) -> None:
    row = document["components"]["schemas"]["shop.Customer"]
    row["description"] = "<script>alert(1)</script>"
    row["properties"]["<b>"] = {"description": "<img>", "type": "string", "enum": ["<i>"]}
    document["info"]["title"] = "</title><script>"
    html = page(read(document, "shop"))
    assert not re.search(r"<(script|img|b|i)>", html)
