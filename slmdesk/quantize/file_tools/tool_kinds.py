"""Which tool does a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.quantize.file_tools import tool_requests as requests
from slmdesk.quantize.file_tools.adapter_tools import AdapterMergeTool
from slmdesk.quantize.file_tools.convert_tools import AdapterTool, ConvertTool
from slmdesk.quantize.file_tools.matrix_tools import MatrixSumTool, MatrixTool
from slmdesk.quantize.file_tools.regroup_tools import JoinTool, SplitTool

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.core.paths import Paths
    from slmdesk.quantize.file_tools.tool_plan import FileTool
    from slmdesk.quantize.file_tools.tool_requests import ToolRequest


def tool_for(request: ToolRequest, home: Path, paths: Paths) -> FileTool:
    """`home`: the folder for what comes out where the request names no other."""
    match request:
        case requests.SplitRequest():
            return SplitTool(request, home)
        case requests.JoinRequest():
            return JoinTool(request, home)
        case requests.MatrixRequest():
            return MatrixTool(request, home, paths)
        case requests.MatrixSumRequest():
            return MatrixSumTool(request, home)
        case requests.ConvertRequest():
            return ConvertTool(request, home, paths)
        case requests.AdapterRequest():
            return AdapterTool(request, home, paths)
        case requests.AdapterMergeRequest():
            return AdapterMergeTool(request, home)
    raise TypeError(f"no tool does {request.tool}")
