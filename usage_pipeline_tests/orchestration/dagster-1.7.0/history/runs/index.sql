BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('46b412388816');
CREATE TABLE asset_check_executions (
	id INTEGER NOT NULL, 
	asset_key TEXT, 
	check_name TEXT, 
	partition TEXT, 
	run_id VARCHAR(255), 
	execution_status VARCHAR(255), 
	evaluation_event TEXT, 
	evaluation_event_timestamp DATETIME, 
	evaluation_event_storage_id INTEGER, 
	materialization_event_storage_id INTEGER, 
	create_timestamp DATETIME DEFAULT (CURRENT_TIMESTAMP), 
	PRIMARY KEY (id)
);
CREATE TABLE asset_event_tags (
	id INTEGER NOT NULL, 
	event_id INTEGER, 
	asset_key TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	value TEXT, 
	event_timestamp TIMESTAMP, 
	PRIMARY KEY (id)
);
INSERT INTO "asset_event_tags" VALUES(1,3,'["raw", "acme", "usage"]','dagster/code_version','6b3f1e76-2c15-44e3-ae9c-d64fd098842f','2026-11-21 08:13:42.597927');
INSERT INTO "asset_event_tags" VALUES(2,3,'["raw", "acme", "usage"]','dagster/data_version','66e5c83f8afe1bdf321abba2bda85bc2e61a4082cfa6bfea60eb18ee1b012b33','2026-11-21 08:13:42.597927');
CREATE TABLE asset_keys (
	id INTEGER NOT NULL, 
	asset_key VARCHAR(512), 
	last_materialization TEXT, 
	last_run_id VARCHAR(255), 
	asset_details TEXT, 
	wipe_timestamp TIMESTAMP, 
	last_materialization_timestamp TIMESTAMP, 
	tags TEXT, 
	create_timestamp DATETIME DEFAULT (CURRENT_TIMESTAMP), 
	cached_status_data TEXT, 
	PRIMARY KEY (id), 
	UNIQUE (asset_key)
);
INSERT INTO "asset_keys" VALUES(1,'["raw", "acme", "usage"]','{"__class__": "EventLogRecord", "event_log_entry": {"__class__": "EventLogEntry", "dagster_event": {"__class__": "DagsterEvent", "event_specific_data": {"__class__": "StepMaterializationData", "asset_lineage": [], "materialization": {"__class__": "AssetMaterialization", "asset_key": {"__class__": "AssetKey", "path": ["raw", "acme", "usage"]}, "description": null, "metadata_entries": [], "partition": "2024-01-02", "tags": {"dagster/code_version": "6b3f1e76-2c15-44e3-ae9c-d64fd098842f", "dagster/data_version": "66e5c83f8afe1bdf321abba2bda85bc2e61a4082cfa6bfea60eb18ee1b012b33"}}}, "event_type_value": "ASSET_MATERIALIZATION", "logging_tags": {"job_name": "__ephemeral_asset_job__", "op_name": "raw__acme__usage", "resource_fn_name": "None", "resource_name": "None", "run_id": "6b3f1e76-2c15-44e3-ae9c-d64fd098842f", "step_key": "raw__acme__usage"}, "message": "Materialized value raw acme usage.", "pid": 7997, "pipeline_name": "__ephemeral_asset_job__", "solid_handle": {"__class__": "SolidHandle", "name": "raw__acme__usage", "parent": null}, "step_handle": {"__class__": "StepHandle", "key": "raw__acme__usage", "solid_handle": {"__class__": "SolidHandle", "name": "raw__acme__usage", "parent": null}}, "step_key": "raw__acme__usage", "step_kind_value": "COMPUTE"}, "error_info": null, "level": 10, "message": "", "pipeline_name": "__ephemeral_asset_job__", "run_id": "6b3f1e76-2c15-44e3-ae9c-d64fd098842f", "step_key": "raw__acme__usage", "timestamp": 1795248822.5979273, "user_message": "Materialized value raw acme usage."}, "storage_id": 3}','6b3f1e76-2c15-44e3-ae9c-d64fd098842f',NULL,NULL,'2026-11-21 08:13:42.597927',NULL,'2026-11-21 08:13:42',NULL);
CREATE TABLE concurrency_limits (
	id INTEGER NOT NULL, 
	concurrency_key VARCHAR(512) NOT NULL, 
	"limit" INTEGER NOT NULL, 
	update_timestamp DATETIME DEFAULT (CURRENT_TIMESTAMP), 
	create_timestamp DATETIME DEFAULT (CURRENT_TIMESTAMP), 
	PRIMARY KEY (id), 
	UNIQUE (concurrency_key)
);
INSERT INTO "concurrency_limits" VALUES(1,'acme',3,'2026-11-21 08:13:42','2026-11-21 08:13:42');
CREATE TABLE concurrency_slots (
	id INTEGER NOT NULL, 
	concurrency_key TEXT NOT NULL, 
	run_id TEXT, 
	step_key TEXT, 
	deleted BOOLEAN NOT NULL, 
	create_timestamp DATETIME DEFAULT (CURRENT_TIMESTAMP), 
	PRIMARY KEY (id)
);
INSERT INTO "concurrency_slots" VALUES(1,'acme',NULL,NULL,0,'2026-11-21 08:13:42');
INSERT INTO "concurrency_slots" VALUES(2,'acme',NULL,NULL,0,'2026-11-21 08:13:42');
INSERT INTO "concurrency_slots" VALUES(3,'acme',NULL,NULL,0,'2026-11-21 08:13:42');
CREATE TABLE dynamic_partitions (
	id INTEGER NOT NULL, 
	partitions_def_name TEXT NOT NULL, 
	partition TEXT NOT NULL, 
	create_timestamp DATETIME DEFAULT (CURRENT_TIMESTAMP), 
	PRIMARY KEY (id)
);
CREATE TABLE event_logs (
	id INTEGER NOT NULL, 
	run_id VARCHAR(255), 
	event TEXT NOT NULL, 
	dagster_event_type TEXT, 
	timestamp TIMESTAMP, 
	step_key TEXT, 
	asset_key TEXT, 
	partition TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "event_logs" VALUES(1,'6b3f1e76-2c15-44e3-ae9c-d64fd098842f','{"__class__": "EventLogEntry", "dagster_event": {"__class__": "DagsterEvent", "event_specific_data": {"__class__": "AssetMaterializationPlannedData", "asset_key": {"__class__": "AssetKey", "path": ["raw", "acme", "usage"]}, "partition": "2024-01-02", "partitions_subset": null}, "event_type_value": "ASSET_MATERIALIZATION_PLANNED", "logging_tags": {}, "message": "__ephemeral_asset_job__ intends to materialize asset [\"raw\", \"acme\", \"usage\"]", "pid": null, "pipeline_name": "__ephemeral_asset_job__", "solid_handle": null, "step_handle": null, "step_key": "raw__acme__usage", "step_kind_value": null}, "error_info": null, "level": 10, "message": "", "pipeline_name": "__ephemeral_asset_job__", "run_id": "6b3f1e76-2c15-44e3-ae9c-d64fd098842f", "step_key": "raw__acme__usage", "timestamp": 1795248822.4748437, "user_message": ""}','ASSET_MATERIALIZATION_PLANNED','2026-11-21 08:13:42.474844','raw__acme__usage','["raw", "acme", "usage"]','2024-01-02');
INSERT INTO "event_logs" VALUES(2,'6b3f1e76-2c15-44e3-ae9c-d64fd098842f','{"__class__": "EventLogEntry", "dagster_event": {"__class__": "DagsterEvent", "event_specific_data": null, "event_type_value": "PIPELINE_START", "logging_tags": {}, "message": "Started execution of run for \"__ephemeral_asset_job__\".", "pid": 7997, "pipeline_name": "__ephemeral_asset_job__", "solid_handle": null, "step_handle": null, "step_key": null, "step_kind_value": null}, "error_info": null, "level": 10, "message": "", "pipeline_name": "__ephemeral_asset_job__", "run_id": "6b3f1e76-2c15-44e3-ae9c-d64fd098842f", "step_key": null, "timestamp": 1795248822.537541, "user_message": "Started execution of run for \"__ephemeral_asset_job__\"."}','PIPELINE_START','2026-11-21 08:13:42.537541',NULL,NULL,NULL);
INSERT INTO "event_logs" VALUES(3,'6b3f1e76-2c15-44e3-ae9c-d64fd098842f','{"__class__": "EventLogEntry", "dagster_event": {"__class__": "DagsterEvent", "event_specific_data": {"__class__": "StepMaterializationData", "asset_lineage": [], "materialization": {"__class__": "AssetMaterialization", "asset_key": {"__class__": "AssetKey", "path": ["raw", "acme", "usage"]}, "description": null, "metadata_entries": [], "partition": "2024-01-02", "tags": {"dagster/code_version": "6b3f1e76-2c15-44e3-ae9c-d64fd098842f", "dagster/data_version": "66e5c83f8afe1bdf321abba2bda85bc2e61a4082cfa6bfea60eb18ee1b012b33"}}}, "event_type_value": "ASSET_MATERIALIZATION", "logging_tags": {"job_name": "__ephemeral_asset_job__", "op_name": "raw__acme__usage", "resource_fn_name": "None", "resource_name": "None", "run_id": "6b3f1e76-2c15-44e3-ae9c-d64fd098842f", "step_key": "raw__acme__usage"}, "message": "Materialized value raw acme usage.", "pid": 7997, "pipeline_name": "__ephemeral_asset_job__", "solid_handle": {"__class__": "SolidHandle", "name": "raw__acme__usage", "parent": null}, "step_handle": {"__class__": "StepHandle", "key": "raw__acme__usage", "solid_handle": {"__class__": "SolidHandle", "name": "raw__acme__usage", "parent": null}}, "step_key": "raw__acme__usage", "step_kind_value": "COMPUTE"}, "error_info": null, "level": 10, "message": "", "pipeline_name": "__ephemeral_asset_job__", "run_id": "6b3f1e76-2c15-44e3-ae9c-d64fd098842f", "step_key": "raw__acme__usage", "timestamp": 1795248822.5979273, "user_message": "Materialized value raw acme usage."}','ASSET_MATERIALIZATION','2026-11-21 08:13:42.597927','raw__acme__usage','["raw", "acme", "usage"]','2024-01-02');
INSERT INTO "event_logs" VALUES(4,'6b3f1e76-2c15-44e3-ae9c-d64fd098842f','{"__class__": "EventLogEntry", "dagster_event": {"__class__": "DagsterEvent", "event_specific_data": null, "event_type_value": "PIPELINE_SUCCESS", "logging_tags": {}, "message": "Finished execution of run for \"__ephemeral_asset_job__\".", "pid": 7997, "pipeline_name": "__ephemeral_asset_job__", "solid_handle": null, "step_handle": null, "step_key": null, "step_kind_value": null}, "error_info": null, "level": 10, "message": "", "pipeline_name": "__ephemeral_asset_job__", "run_id": "6b3f1e76-2c15-44e3-ae9c-d64fd098842f", "step_key": null, "timestamp": 1795248822.682709, "user_message": "Finished execution of run for \"__ephemeral_asset_job__\"."}','PIPELINE_SUCCESS','2026-11-21 08:13:42.682709',NULL,NULL,NULL);
CREATE TABLE pending_steps (
	id INTEGER NOT NULL, 
	concurrency_key TEXT NOT NULL, 
	run_id TEXT, 
	step_key TEXT, 
	priority INTEGER, 
	assigned_timestamp DATETIME, 
	create_timestamp DATETIME DEFAULT (CURRENT_TIMESTAMP), 
	PRIMARY KEY (id)
);
CREATE TABLE secondary_indexes (
	id INTEGER NOT NULL, 
	name VARCHAR(512), 
	create_timestamp DATETIME DEFAULT (CURRENT_TIMESTAMP), 
	migration_completed DATETIME, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "secondary_indexes" VALUES(1,'asset_key_table','2026-11-21 08:13:42','2026-11-21 08:13:42.386889');
INSERT INTO "secondary_indexes" VALUES(2,'asset_key_index_columns','2026-11-21 08:13:42','2026-11-21 08:13:42.392304');
CREATE INDEX idx_step_key ON event_logs (step_key);
CREATE INDEX idx_events_by_asset ON event_logs (asset_key, dagster_event_type, id);
CREATE INDEX idx_event_type ON event_logs (dagster_event_type, id);
CREATE INDEX idx_events_by_asset_partition ON event_logs (asset_key, dagster_event_type, partition, id);
CREATE INDEX idx_events_by_run_id ON event_logs (run_id, id);
CREATE INDEX idx_asset_event_tags ON asset_event_tags (asset_key, "key", value);
CREATE INDEX idx_asset_event_tags_event_id ON asset_event_tags (event_id);
CREATE UNIQUE INDEX idx_dynamic_partitions ON dynamic_partitions (partitions_def_name, partition);
CREATE UNIQUE INDEX idx_pending_steps ON pending_steps (concurrency_key, run_id, step_key);
CREATE INDEX idx_asset_check_executions ON asset_check_executions (asset_key, check_name, materialization_event_storage_id, partition);
CREATE UNIQUE INDEX idx_asset_check_executions_unique ON asset_check_executions (asset_key, check_name, run_id, partition);
COMMIT;
