"""What benchmarks/trust.py says of the masks that stand out."""

from benchmarks.trust import describe_looks
from transfuse_keras.runs.trust import Trust

TRUST = Trust(5, {"a": 1.0}, {"a": (1.0, 0.0)}, look_below=0.6, ranges={})


def row(case, dice, predicted):
    return {"case": case, "class": "a", "dice": str(dice), "predicted_dice": str(predicted)}


def test_masks_stand_out_by_their_predicted_dice_or_their_image():
    rows = [row("low", 0.3, 0.5), row("missed", 0.4, 0.7), row("odd", 0.8, 0.9)]
    assert describe_looks([*rows, row("good", 0.9, 0.6)], TRUST, {"odd": ["darker"]}) == (
        "to be looked at: 2 of 4 masks; mean Dice of these and of the others 0.550 and 0.650; "
        "of 2 masks below 0.5 it names 1"
    )


def test_where_none_stands_out_there_is_no_mean():
    assert "others - and 0.900" in describe_looks([row("good", 0.9, 0.8)], TRUST, {})
