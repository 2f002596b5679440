"""The register of secrets holds exactly the settings that are marked secret, and says something of each."""

import pytest

from fluxa.apps.settings import NAMES, is_secret
from fluxa.operations.secrets import REGISTER

pytestmark = pytest.mark.req("GATE-4")


def test_every_secret_setting_is_registered_once_and_no_other() -> None:
    assert sorted(row.setting for row in REGISTER) == sorted(name for name in NAMES if is_secret(name))


def test_each_row_says_what_why_where_and_which_form() -> None:
    for row in REGISTER:
        assert all((row.why, row.origin, row.without, row.form_words)), row.setting
        assert (row.form is None) == (row.form_words == "tables")
