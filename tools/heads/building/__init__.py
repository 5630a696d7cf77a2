"""Makes the asset directory from checkouts of the public sources; the command is `tools.heads.build_assets`."""
