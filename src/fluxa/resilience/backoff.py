"""How long to wait before asking again for something that all work needs, such as the database. Pure."""

_FIRST_S = 0.05
_LONGEST_S = 2.0


def pause_s(failures: int, chance: float) -> float:
    """Seconds to wait after so many failures in a row; `chance` in [0, 1) spreads it by half."""
    return min(_LONGEST_S, _FIRST_S * 2.0 ** min(failures - 1, 16)) * (0.5 + chance / 2)
