"""review.csv of a prediction: what to look at, least certain first."""

from transfuse_keras.errors import quantity
from transfuse_keras.files import write_table

DICE_DIGITS = 4


class Review:
    """Collects how far each predicted mask can be trusted.

    Args:
        trust: Trust of the model.
    """

    def __init__(self, trust):
        self.trust, self.rows = trust, []

    def add(self, name, image, maps, masks):
        """Take an Input by its name: its image, and probabilities and 0/1 masks (..., M)."""
        unlike = "; ".join(self.trust.describe_unlike(image))
        for of_class, dice in self.trust.predict_dice(maps, masks).items():
            look = "yes" if unlike or dice < self.trust.look_below else ""
            row = {"name": name, "class": of_class, "predicted_dice": round(dice, DICE_DIGITS)}
            self.rows.append({**row, "look": look, "unlike_training": unlike})

    def write(self, path):
        """Write the rows. Returns: a sentence that says how many masks to look at."""
        self.rows.sort(key=lambda row: (not row["unlike_training"], row["predicted_dice"]))
        write_table(path, self.rows)
        look = sum(bool(row["look"]) for row in self.rows)
        unlike = sum(bool(row["unlike_training"]) for row in self.rows)
        masks = quantity(len(self.rows), "mask")
        if not look:
            return f"Of {masks} none stands out, see {path}; look at them as at any other."
        return (
            f"Please look at {look} of {masks}, see {path}: {unlike} because the image is unlike "
            f"the training images, {look - unlike} because the predicted Dice is low."
        )
