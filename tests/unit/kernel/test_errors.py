"""The one error table."""

import pytest

from fluxa.kernel.errors import ERRORS, ErrorCode, FluxaError, RetryClass, retry_class


@pytest.mark.req("PIPE-9")
def test_every_code_has_a_row() -> None:
    assert set(ERRORS) == set(ErrorCode)


@pytest.mark.req("PIPE-9")
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("HashMismatch", RetryClass.SECURITY),
        ("SchemaValidation", RetryClass.PERMANENT),
        ("DBConnectionError", RetryClass.TRANSIENT),
        ("PayloadMissing", RetryClass.PERMANENT),
        ("HandlerTimeout", RetryClass.TRANSIENT),
        ("HandlerCrash", RetryClass.TRANSIENT),
        ("ProviderThrottled", RetryClass.TRANSIENT),
        ("ProviderUnavailable", RetryClass.TRANSIENT),
        ("ProviderRejected", RetryClass.PERMANENT),
    ],
)
def test_the_named_codes_have_their_classes(code: str, expected: RetryClass) -> None:
    assert retry_class(code) is expected


def test_a_users_own_code_is_transient() -> None:
    error = FluxaError("CoffeeMachineEmpty", "no beans")
    assert error.retry is RetryClass.TRANSIENT
    assert str(error) == "CoffeeMachineEmpty: no beans"
    assert error.spec is ERRORS[ErrorCode.HANDLER_ERROR]


def test_an_error_without_detail_says_what_its_code_means() -> None:
    assert FluxaError(ErrorCode.NOT_FOUND).detail == ERRORS[ErrorCode.NOT_FOUND].title
