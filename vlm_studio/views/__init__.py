"""Values to pictures, tables and escaped HTML. No gradio, no torch, nothing stored."""
