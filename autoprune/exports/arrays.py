"""Tables as plain arrays: `.npy`, safetensors, parquet.

What is written for vectors is read again by `task=vectors task.vectors=…`, what is written for a recommender by
`task=interactions task.model=…`, of parquet but for what is added to all scores.
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
    """`NAME.npy`, and beside it `NAME_ids.json` and, where there are any, `NAME_bias.npy`."""

    name = "numpy"

    def put(self, exported: Exported, draft: Path) -> dict[str, Any]:
        import numpy as np  # here, because to ask what can be written nobody waits for it

        for name, table in exported.tables.items():
            np.save(draft / f"{name}.npy", table.vectors)
            write_ids(table, draft / f"{name}_ids.json")
            if table.bias is not None:
                np.save(draft / f"{name}_bias.npy", table.bias)
        if exported.constant:
            np.save(draft / "global_bias.npy", np.array([exported.constant], dtype=np.float32))
        write_projection(exported, draft)
        return {}

    def code(self, said: Mapping[str, Any], shown: str) -> str:
        searched = said["searched"]
        code = f"import numpy; model = numpy.load({f'{shown}/{searched}.npy'!r}); "
        asking = [name for name in said["tables"] if name != searched]
        if not asking:
            return code + "print(model.shape)"
        bias = f" + numpy.load({f'{shown}/{searched}_bias.npy'!r})" if searched in said["biased"] else ""
        asked = f"numpy.load({f'{shown}/{asking[0]}.npy'!r})[0]"
        return code + f"print(numpy.argsort(-(model @ {asked}{bias}))[:10])"

    def files(self, said: Mapping[str, Any]) -> str:
        text = listed(said, {name: f"`{name}.npy`, float32" for name in said["tables"]})
        text += "".join(f"\n- `{name}_bias.npy`: float32, the bias of each row" for name in said["biased"])
        return text + ("\n- `projection.npy`: float32" if said["width"] else "")


class Safetensors(TableFormat):
    """`model.safetensors` with `NAME.weight` and `NAME.bias`, as two `torch.nn.Embedding` are kept."""

    name = "safetensors"

    def put(self, exported: Exported, draft: Path) -> dict[str, Any]:
        import numpy as np  # as above
        import safetensors.numpy

        tensors = {f"{name}.weight": table.vectors for name, table in exported.tables.items()}
        tensors |= {f"{name}.bias": one.bias for name, one in exported.tables.items() if one.bias is not None}
        if exported.constant:
            tensors["global_bias"] = np.array([exported.constant], dtype=np.float32)
        if exported.projection is not None:
            tensors["projection"] = exported.projection
        held = {name: np.ascontiguousarray(one) for name, one in tensors.items()}
        (draft / "model.safetensors").write_bytes(safetensors.numpy.save(held, metadata={"format": "pt"}))
        for name, table in exported.tables.items():
            write_ids(table, draft / f"{name}_ids.json")
        return {}

    def code(self, said: Mapping[str, Any], shown: str) -> str:
        return (
            "from safetensors.numpy import load_file; "
            f"model = load_file({f'{shown}/model.safetensors'!r}); print({{name: model[name].shape for name in model}})"
        )

    def files(self, said: Mapping[str, Any]) -> str:
        text = listed(said, {name: f"`{name}.weight` of `model.safetensors`, float32" for name in said["tables"]})
        text += "".join(f"\n- `{name}.bias` of it: the bias of each row" for name in said["biased"])
        return text + ("\n- `projection` of it" if said["width"] else "")


class Parquet(TableFormat):
    """A table of id and vector, and of bias where there are any."""

    name = "parquet"

    def lost(self, exported: Exported) -> list[str]:
        found, constant = super().lost(exported), f"{exported.constant:.7g}"
        if exported.constant:
            found.append(
                f"The {constant} that is added to all scores stands in `{SETTINGS}` alone; who reads the tables again "
                f"gives it: task.model.global_bias={constant}."
            )
        return found

    def put(self, exported: Exported, draft: Path) -> dict[str, Any]:
        need("pyarrow", "parquet", "--format parquet")
        import pandas as pd

        for name, table in exported.tables.items():
            columns: dict[str, Any] = {"id": table.ids, "vector": list(table.vectors)}
            columns |= {} if table.bias is None else {"bias": table.bias}
            pd.DataFrame(columns).to_parquet(draft / f"{name}.parquet", index=False)
        write_projection(exported, draft)
        return {}

    def code(self, said: Mapping[str, Any], shown: str) -> str:
        place = f"{shown}/{said['searched']}.parquet"
        return f"import pandas; model = pandas.read_parquet({place!r}); print(model.head())"

    def files(self, said: Mapping[str, Any]) -> str:
        lines = [
            f"- `{name}.parquet`: {rows:,} rows of `id` and `vector`, float32 [{dim}]"
            + (", and `bias`" if name in said["biased"] else "")
            for name, (rows, dim) in said["tables"].items()
        ]
        return "\n".join(lines + ["- `projection.npy`: float32"] * bool(said["width"]))


def write_projection(exported: Exported, draft: Path) -> None:
    """Writes what queries are multiplied by, where that is anything, as `projection.npy`."""
    import numpy as np

    if exported.projection is not None:
        np.save(draft / "projection.npy", exported.projection)


NUMPY, SAFETENSORS, PARQUET = Numpy(), Safetensors(), Parquet()
