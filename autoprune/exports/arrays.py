"""Tables as plain arrays: `.npy`, safetensors, parquet.

`task=vectors task.vectors=…` reads exported vectors again, `task=interactions task.model=…` an exported recommender,
whose parquet files lack the constant that is added to all scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.exports.tables import SETTINGS, TableFormat, listed, write_ids
from autoprune.extras import need

if TYPE_CHECKING:
    from autoprune.artifacts.exported import Exported


class Numpy(TableFormat):
    """`NAME.npy` with `NAME_ids.json` and, if the table has a bias, `NAME_bias.npy`."""

    name = "numpy"

    def put(self, exported: Exported, draft: Path) -> dict[str, Any]:
        import numpy as np  # here, because listing the formats does not need it

        for name, table in exported.tables.items():
            np.save(draft / f"{name}.npy", table.vectors)
            write_ids(table, draft / f"{name}_ids.json")
            if table.bias is not None:
                np.save(draft / f"{name}_bias.npy", table.bias)
        if exported.constant:
            np.save(draft / "global_bias.npy", np.array([exported.constant], dtype=np.float32))
        write_projection(exported, draft)
        return {}

    def code(self, settings: Mapping[str, Any], shown: str) -> str:
        searched = settings["searched"]
        code = f"import numpy; model = numpy.load({f'{shown}/{searched}.npy'!r}); "
        asking = [name for name in settings["tables"] if name != searched]
        if not asking:
            return code + "print(model.shape)"
        bias = f" + numpy.load({f'{shown}/{searched}_bias.npy'!r})" if searched in settings["biased"] else ""
        query = f"numpy.load({f'{shown}/{asking[0]}.npy'!r})[0]"
        return code + f"print(numpy.argsort(-(model @ {query}{bias}))[:10])"

    def files(self, settings: Mapping[str, Any]) -> str:
        text = listed(settings, {name: f"`{name}.npy`, float32" for name in settings["tables"]})
        text += "".join(f"\n- `{name}_bias.npy`: float32, the bias of each row" for name in settings["biased"])
        return text + ("\n- `projection.npy`: float32" if settings["width"] else "")


class Safetensors(TableFormat):
    """`model.safetensors` with `NAME.weight` and `NAME.bias`, named as in a torch module of embeddings."""

    name = "safetensors"

    def put(self, exported: Exported, draft: Path) -> dict[str, Any]:
        import numpy as np  # as above
        import safetensors.numpy

        tensors = {f"{name}.weight": table.vectors for name, table in exported.tables.items()}
        tensors |= {f"{name}.bias": table.bias for name, table in exported.tables.items() if table.bias is not None}
        if exported.constant:
            tensors["global_bias"] = np.array([exported.constant], dtype=np.float32)
        if exported.projection is not None:
            tensors["projection"] = exported.projection
        contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        (draft / "model.safetensors").write_bytes(safetensors.numpy.save(contiguous, metadata={"format": "pt"}))
        for name, table in exported.tables.items():
            write_ids(table, draft / f"{name}_ids.json")
        return {}

    def code(self, settings: Mapping[str, Any], shown: str) -> str:
        return (
            "from safetensors.numpy import load_file; "
            f"model = load_file({f'{shown}/model.safetensors'!r}); print({{name: model[name].shape for name in model}})"
        )

    def files(self, settings: Mapping[str, Any]) -> str:
        text = listed(
            settings, {name: f"`{name}.weight` of `model.safetensors`, float32" for name in settings["tables"]}
        )
        text += "".join(f"\n- `{name}.bias` of it: the bias of each row" for name in settings["biased"])
        return text + ("\n- `projection` of it" if settings["width"] else "")


class Parquet(TableFormat):
    """A table with the columns `id` and `vector`, and `bias` if there is one."""

    name = "parquet"

    def lost(self, exported: Exported) -> list[str]:
        losses, constant = super().lost(exported), f"{exported.constant:.7g}"
        if exported.constant:
            losses.append(
                f"The constant {constant}, which is added to all scores, is only in `{SETTINGS}`; to read the tables "
                f"again, set task.model.global_bias={constant}."
            )
        return losses

    def put(self, exported: Exported, draft: Path) -> dict[str, Any]:
        need("pyarrow", "parquet", "--format parquet")
        import pandas as pd

        for name, table in exported.tables.items():
            columns: dict[str, Any] = {"id": table.ids, "vector": list(table.vectors)}
            columns |= {} if table.bias is None else {"bias": table.bias}
            pd.DataFrame(columns).to_parquet(draft / f"{name}.parquet", index=False)
        write_projection(exported, draft)
        return {}

    def code(self, settings: Mapping[str, Any], shown: str) -> str:
        place = f"{shown}/{settings['searched']}.parquet"
        return f"import pandas; model = pandas.read_parquet({place!r}); print(model.head())"

    def files(self, settings: Mapping[str, Any]) -> str:
        lines = [
            f"- `{name}.parquet`: {rows:,} rows of `id` and `vector`, float32 [{dim}]"
            + (", and `bias`" if name in settings["biased"] else "")
            for name, (rows, dim) in settings["tables"].items()
        ]
        return "\n".join(lines + ["- `projection.npy`: float32"] * bool(settings["width"]))


def write_projection(exported: Exported, draft: Path) -> None:
    """Writes the matrix that queries are multiplied by, if there is one, as `projection.npy`."""
    import numpy as np

    if exported.projection is not None:
        np.save(draft / "projection.npy", exported.projection)


NUMPY, SAFETENSORS, PARQUET = Numpy(), Safetensors(), Parquet()
