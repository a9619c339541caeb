import pytest

from transfuse_keras.errors import InputError, blaming


def test_a_message_is_one_line_whatever_a_name_holds():
    for end in ("\n", "\r\n", "\x0b", "\u2028"):
        assert str(InputError(f"a{end}b.png: no image.")) == "a b.png: no image."


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (lambda: {}["x"], "KeyError: 'x'"),
        (lambda: [][0], "IndexError: list index out of range"),
        (lambda: float("x"), "ValueError: could not convert string to float: 'x'"),
        (lambda: None.x, "AttributeError: 'NoneType' object has no attribute 'x'"),
        (lambda: int(float("inf")), "OverflowError: cannot convert float infinity to integer"),
    ],
)
def test_data_of_another_form_is_blamed_on_its_file(damaged, reason):
    with pytest.raises(InputError) as error, blaming("a.json", "damaged", "write it again"):
        damaged()
    assert str(error.value) == f"a.json: damaged ({reason}); write it again."


def test_what_already_names_a_file_and_what_is_no_damage_pass():
    with pytest.raises(InputError, match="^b.json: gone$"), blaming("a.json", "damaged"):
        raise InputError("b.json: gone")
    with pytest.raises(FileNotFoundError), blaming("a.json", "damaged"):
        raise FileNotFoundError
