"""Which tool does a wish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.quantize.file_tools import tool_wishes as wishes
from slmdesk.quantize.file_tools.adapter_tools import AdapterMergeTool
from slmdesk.quantize.file_tools.convert_tools import AdapterTool, ConvertTool
from slmdesk.quantize.file_tools.matrix_tools import MatrixSumTool, MatrixTool
from slmdesk.quantize.file_tools.regroup_tools import JoinTool, SplitTool

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.core.paths import Paths
    from slmdesk.quantize.file_tools.tool_plan import FileTool
    from slmdesk.quantize.file_tools.tool_wishes import ToolWish


def tool_for(wish: ToolWish, home: Path, paths: Paths) -> FileTool:
    """`home`: the folder for what comes out where the wish names no other."""
    match wish:
        case wishes.SplitWish():
            return SplitTool(wish, home)
        case wishes.JoinWish():
            return JoinTool(wish, home)
        case wishes.MatrixWish():
            return MatrixTool(wish, home, paths)
        case wishes.MatrixSumWish():
            return MatrixSumTool(wish, home)
        case wishes.ConvertWish():
            return ConvertTool(wish, home, paths)
        case wishes.AdapterWish():
            return AdapterTool(wish, home, paths)
        case wishes.AdapterMergeWish():
            return AdapterMergeTool(wish, home)
    raise TypeError(f"no tool does {wish.tool}")
