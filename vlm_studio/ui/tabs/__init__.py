"""One file a tab: `build(shared)` places components, `bind(panel, shared, studio)` attaches events."""
