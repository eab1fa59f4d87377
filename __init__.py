"""LARA-Gen, a ComfyUI node pack: music that follows a curve of valence and arousal.

ComfyUI imports this folder under a name of its own, so everything inside is imported relatively. Importing it is quick and
loads neither torch nor a model. The nodes call lara_core, which works without ComfyUI: see README.md.
"""

if __package__:  # pytest imports this file without a package around it
    from .lara_core import __version__

    WEB_DIRECTORY = "./web"

    async def comfy_entrypoint():
        """ComfyUI (0.3.75 or newer) asks for the nodes here."""
        from .nodes import LaraExtension

        return LaraExtension()
