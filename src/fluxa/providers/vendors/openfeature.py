"""Answers OpenFeature's clients from Fluxa's flags, so that handlers ask by the field's own API. Not: the flags."""

from collections.abc import Callable, Mapping, Sequence

from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata
from typing_extensions import override

Given = Callable[[str], bool | None]
"""What a flag of a name was set to; None if nobody has set it."""


def install(given: Given) -> None:
    """From now on every OpenFeature client of this process is answered from here."""
    api.set_provider(FluxaFlags(given))


class FluxaFlags(AbstractProvider):
    """An OpenFeature provider of flags that are on or off. What is asked by another type gets its default."""

    def __init__(self, given: Given) -> None:
        super().__init__()
        self._given = given

    @override
    def get_metadata(self) -> Metadata:
        """Who answers."""
        return Metadata("fluxa")

    @override
    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """What the flag was set to; the default, if nobody has set it."""
        given = self._given(flag_key)
        if given is None:
            return FlagResolutionDetails(default_value, reason=Reason.DEFAULT)
        return FlagResolutionDetails(given, reason=Reason.STATIC)

    @override
    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """The default: no flag of ours is more than on or off."""
        return FlagResolutionDetails(default_value, reason=Reason.DEFAULT)

    @override
    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """The default: no flag of ours is more than on or off."""
        return FlagResolutionDetails(default_value, reason=Reason.DEFAULT)

    @override
    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """The default: no flag of ours is more than on or off."""
        return FlagResolutionDetails(default_value, reason=Reason.DEFAULT)

    @override
    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """The default: no flag of ours is more than on or off."""
        return FlagResolutionDetails(default_value, reason=Reason.DEFAULT)
