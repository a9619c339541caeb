"""When a segmentation counts as a failure: the one rule of the report."""

LEAST_DICE = 0.5
RULE = (
    "A failure is a class that was missed, that was found where the truth has none, or whose Dice "
    f"is below {LEAST_DICE}."
)
MISSED, FALSE_ALARM, POOR = "missed", "false alarm", f"Dice below {LEAST_DICE}"
FAILURES = (MISSED, FALSE_ALARM, POOR)


def name_failure(truth_empty, prediction_empty, dice):
    """The failure of one case and class: one of FAILURES, or "" where there is none.

    Args:
        truth_empty, prediction_empty: whether the masks have no pixel.
        dice: their Dice; nan where it is not known.

    Example:
        >>> name_failure(False, True, 0.0), name_failure(False, False, 0.93)
        ('missed', '')
    """
    if truth_empty != prediction_empty:
        return MISSED if prediction_empty else FALSE_ALARM
    return POOR if dice < LEAST_DICE else ""
