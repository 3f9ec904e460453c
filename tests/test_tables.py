"""Reading tables: what a row is picked by."""

import pandas as pd
import pytest

from hf_relvit.tables import largest


@pytest.mark.parametrize("ignore_index", [True, False])
def test_the_largest_row_of_joined_tables(ignore_index):
    parts = [
        pd.DataFrame({"layer": [layer, layer], "accuracy": [0.1, layer / 10]}) for layer in range(5)
    ]
    top = largest(pd.concat(parts, ignore_index=ignore_index))
    assert top.layer == 4 and top.accuracy == 0.4


def test_of_equal_rows_the_first_and_missing_values_never():
    table = pd.DataFrame(
        {"layer": [0, 1, 2], "accuracy": [float("nan"), 0.5, 0.5]}, index=[7, 7, 7]
    )
    assert largest(table).layer == 1
