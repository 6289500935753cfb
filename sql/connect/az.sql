-- What a session of DuckDB begins with, to read a lake in Azure: credentials as the Azure command line finds them.
INSTALL azure;
LOAD azure;
CREATE SECRET lake (TYPE azure, PROVIDER credential_chain, ACCOUNT_NAME '$account', SCOPE '$lake');
