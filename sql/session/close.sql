-- From here on nothing but those files is opened, no extension is loaded, and nobody changes that.
SET allowed_paths = coalesce(getvariable('files'), []);
SET autoload_known_extensions = false;
SET autoinstall_known_extensions = false;
SET allow_community_extensions = false;
-- No variable of this program is a table.
SET python_enable_replacements = false;
SET enable_external_access = false;
SET lock_configuration = true;
