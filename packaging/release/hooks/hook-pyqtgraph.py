"""No icons and colour maps: the chart of quants uses none. And none of the parts that no import statement names."""

datas: list = []
