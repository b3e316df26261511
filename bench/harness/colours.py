"""The colours of the plots, on light and on dark backgrounds."""

OURS, OTHERS = "#c2410c", "#475569"

# What a browser shows instead where dark backgrounds are preferred. The first three are
# matplotlib's: the ground, the axes and the grid.
DARK = {
    "#ffffff": "#14191b",
    "#000000": "#e6e4dd",
    "#b0b0b0": "#6b7478",
    OURS: "#fb923c",
    OTHERS: "#a9b6c6",
}


def with_dark_ones(svg):
    """The same picture, which changes with what its reader prefers."""
    rules = [f"text {{ fill: {DARK['#000000']} }}"]
    for light, dark in DARK.items():
        for what in ("fill", "stroke"):
            rules.append(f'[style*="{what}: {light}"] {{ {what}: {dark} !important }}')
    style = "@media (prefers-color-scheme: dark) { " + " ".join(rules) + " }"
    return svg.replace("</style>", style + "</style>", 1)
