CREATE UNLOGGED TABLE public.httpkey_buckets (
    id bytea NOT NULL,
    debt bigint NOT NULL,
    as_of bigint NOT NULL,
    full_at bigint NOT NULL
)
WITH (fillfactor='70');

CREATE TABLE public.httpkey_changes (
    revision bigint NOT NULL,
    digest bytea NOT NULL
);

CREATE TABLE public.httpkey_migrations (
    version integer NOT NULL,
    applied_at bigint NOT NULL
);

CREATE TABLE public.httpkey_revision (
    id integer NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT httpkey_revision_id_check CHECK ((id = 1))
);

CREATE TABLE public.httpkey_tokens (
    id text NOT NULL COLLATE pg_catalog."C",
    digest bytea NOT NULL,
    hint text NOT NULL,
    kind text NOT NULL COLLATE pg_catalog."C",
    label text NOT NULL,
    description text NOT NULL,
    user_id text NOT NULL COLLATE pg_catalog."C",
    workspace_id text COLLATE pg_catalog."C",
    scopes jsonb NOT NULL,
    limit_rate bigint,
    limit_burst bigint,
    limit_period bigint,
    is_active boolean NOT NULL,
    expired_at bigint,
    last_used bigint,
    created_at bigint NOT NULL,
    rotated_from text COLLATE pg_catalog."C",
    CONSTRAINT httpkey_tokens_digest_check CHECK ((octet_length(digest) = 32))
)
WITH (fillfactor='90');

INSERT INTO public.httpkey_buckets VALUES ('\xf27fbe43cf58154a0aeb1e7254053d959ad3b240f4ab06895f7aa0a24d943f54', 180000000, 1795783671593301, 1795783707593301);
INSERT INTO public.httpkey_buckets VALUES ('\x95bebb8517da408fc2f8a23b4180a9f6fd6f5256fcf7202eea55f2301785b2fc', 3000003, 1795783671597328, 1795783671897329);

INSERT INTO public.httpkey_changes VALUES (1, '\x33998333f0969b88b57f0ecb7d2a19fb60f307d4cf744c91d0159d2dd064f1f3');
INSERT INTO public.httpkey_changes VALUES (2, '\xb34cadfe230e339d38b618583c4a40ff2b59c3528c7ced96712b1f49cf112254');
INSERT INTO public.httpkey_changes VALUES (3, '\x88a1008023fe2c94264c60c5eea8356e0e7376048f7d0e02a868b43cee2e79a7');
INSERT INTO public.httpkey_changes VALUES (4, '\xd28c0f6c520ecd0be7a7815cf89d5c15adc2f628571ab3def8cb09ec2535d70e');
INSERT INTO public.httpkey_changes VALUES (5, '\x7f038b02f468774a316af78e4c171b02bba8088506e7a0b8219944fece50c93c');
INSERT INTO public.httpkey_changes VALUES (6, '\xd084d369c0c6e9e830357967f4f0d29ec7669c268c257357c35dfcc8a78b62e4');
INSERT INTO public.httpkey_changes VALUES (7, '\xd28c0f6c520ecd0be7a7815cf89d5c15adc2f628571ab3def8cb09ec2535d70e');
INSERT INTO public.httpkey_changes VALUES (8, '\x81bcfbb15f4b149df14056a95272d8abdcf381aff5160ca6369de32e08830ceb');
INSERT INTO public.httpkey_changes VALUES (9, '\x7f038b02f468774a316af78e4c171b02bba8088506e7a0b8219944fece50c93c');
INSERT INTO public.httpkey_changes VALUES (10, '\x4dbfb5d4f352b8450f4e91b29e4137fce3e119d5e5918894131a256758ba8482');

INSERT INTO public.httpkey_migrations VALUES (1, 1795783671479732);
INSERT INTO public.httpkey_migrations VALUES (2, 1795783671505330);

INSERT INTO public.httpkey_revision VALUES (1, 10);

INSERT INTO public.httpkey_tokens VALUES ('limited', '\xb34cadfe230e339d38b618583c4a40ff2b59c3528c7ced96712b1f49cf112254', 'ited', 'api_key', 'five a minute', '', 'ann', 'acme', '[]', 5, NULL, 60000000, true, NULL, NULL, 1795783671520027, NULL);
INSERT INTO public.httpkey_tokens VALUES ('burst', '\x88a1008023fe2c94264c60c5eea8356e0e7376048f7d0e02a868b43cee2e79a7', 'urst', 'service_token', 'ünï 🔑', '', 'bob', NULL, '[]', 10, 3, 1000001, true, 32503679999999999, NULL, 1795783671533438, NULL);
INSERT INTO public.httpkey_tokens VALUES ('01a21d0c-3ef8-77f1-bf94-d546a854ce86', '\xd084d369c0c6e9e830357967f4f0d29ec7669c268c257357c35dfcc8a78b62e4', 'RsnX', 'api_key', 'on its way out', '', 'ann', NULL, '[]', 7, NULL, 3600000000, true, NULL, NULL, 1795783671544329, 'rotated');
INSERT INTO public.httpkey_tokens VALUES ('rotated', '\xd28c0f6c520ecd0be7a7815cf89d5c15adc2f628571ab3def8cb09ec2535d70e', 'ated', 'api_key', 'on its way out', '', 'ann', NULL, '[]', 7, NULL, 3600000000, true, 4949383671547098, NULL, 1795783671538569, NULL);
INSERT INTO public.httpkey_tokens VALUES ('successor', '\x81bcfbb15f4b149df14056a95272d8abdcf381aff5160ca6369de32e08830ceb', 'ated', 'api_key', 'on its way out', '', 'ann', NULL, '[]', 7, NULL, 3600000000, true, NULL, NULL, 1795783671538569, 'rotated');
INSERT INTO public.httpkey_tokens VALUES ('revoked', '\x7f038b02f468774a316af78e4c171b02bba8088506e7a0b8219944fece50c93c', 'oked', 'api_key', '', '', 'ann', NULL, '[]', 9, NULL, 60000000, false, NULL, NULL, 1795783671540897, NULL);
INSERT INTO public.httpkey_tokens VALUES ('expired', '\x4dbfb5d4f352b8450f4e91b29e4137fce3e119d5e5918894131a256758ba8482', 'ated', 'api_key', 'on its way out', '', 'ann', NULL, '[]', 7, NULL, 3600000000, true, 1767323045000000, NULL, 1795783671538569, NULL);
INSERT INTO public.httpkey_tokens VALUES ('plain', '\x33998333f0969b88b57f0ecb7d2a19fb60f307d4cf744c91d0159d2dd064f1f3', 'lain', 'api_key', 'a key', '', 'ann', NULL, '["pages:read", "pages:write"]', NULL, NULL, NULL, true, NULL, 1778051289123456, 1795783671508743, NULL);

ALTER TABLE ONLY public.httpkey_buckets
    ADD CONSTRAINT httpkey_buckets_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.httpkey_changes
    ADD CONSTRAINT httpkey_changes_pkey PRIMARY KEY (revision);

ALTER TABLE ONLY public.httpkey_migrations
    ADD CONSTRAINT httpkey_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY public.httpkey_revision
    ADD CONSTRAINT httpkey_revision_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.httpkey_tokens
    ADD CONSTRAINT httpkey_tokens_digest_key UNIQUE (digest);

ALTER TABLE ONLY public.httpkey_tokens
    ADD CONSTRAINT httpkey_tokens_pkey PRIMARY KEY (id);

CREATE INDEX httpkey_tokens_newest ON public.httpkey_tokens USING btree (created_at, id);

CREATE INDEX httpkey_tokens_rotated ON public.httpkey_tokens USING btree (rotated_from, created_at, id);

CREATE INDEX httpkey_tokens_user ON public.httpkey_tokens USING btree (user_id, created_at, id);

CREATE INDEX httpkey_tokens_workspace ON public.httpkey_tokens USING btree (workspace_id, created_at, id);
