-- Nearest neighbours in the shapes that libraries write.
SELECT id, title FROM docs ORDER BY embedding <-> '[0.1,0.2,0.3]' LIMIT 5;
-- an alias as the key
SELECT d.id, d.embedding <=> $1::vector AS distance FROM docs AS d WHERE d.meta->>'lang' = $2 ORDER BY distance ASC LIMIT $3;
-- by ordinal, through a subquery
SELECT * FROM (SELECT id, 1 - (embedding <=> CAST($1 AS VECTOR(3))) AS score FROM docs) AS ranked WHERE ranked.score > 0.5 ORDER BY 2 DESC;
-- lateral
SELECT a.id, near.id FROM docs a CROSS JOIN LATERAL (SELECT b.id FROM docs b WHERE b.id <> a.id ORDER BY b.embedding <#> a.embedding LIMIT 3) near;
-- rerank
WITH wide AS MATERIALIZED (SELECT id, embedding <+> $1 AS d FROM docs ORDER BY d LIMIT 100) SELECT id FROM wide ORDER BY d + 0 LIMIT 10;
-- aggregates
SELECT category, avg(embedding), count(*) FILTER (WHERE price > 3.5) FROM docs GROUP BY category HAVING count(*) > 1;
-- catalog: a pattern
SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relname OPERATOR(pg_catalog.~) '^(docs)$' COLLATE pg_catalog.default AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']) AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 2, 3;
-- catalog: a type by name
SELECT t.typname AS name, t.oid, t.typarray, t.oid::regtype::text AS regtype FROM pg_type t WHERE t.oid = to_regtype($1) ORDER BY t.oid;
-- catalog: keys of an index
SELECT a.attname, generate_subscripts(i.indkey, 1) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) WHERE i.indrelid = 'docs'::regclass AND i.indisprimary;
-- catalog: settings
SELECT set_config('search_path', '', false), current_setting('server_version_num')::int / 10000, current_schema();
-- recursion
WITH RECURSIVE tree(id, depth) AS (SELECT id, 0 FROM nodes WHERE parent IS NULL UNION ALL SELECT n.id, t.depth + 1 FROM nodes n, tree t WHERE n.parent = t.id) SELECT DISTINCT ON (id) id, depth FROM tree ORDER BY id, depth;
-- arrays, cases, times
SELECT CASE WHEN tags && ARRAY['a', 'b']::text[] THEN 'x' ELSE NULL END, ARRAY(SELECT id FROM docs ORDER BY id), created AT TIME ZONE 'UTC', extract(epoch FROM created), now() - INTERVAL '1 day' FROM docs WHERE created BETWEEN date '2024-01-01' AND timestamp '2024-12-31 00:00:00' AND title NOT ILIKE '%draft%';
-- ordinality
SELECT u.v, u.n FROM unnest($1::int[]) WITH ORDINALITY AS u(v, n) LEFT JOIN docs ON docs.id = u.v ORDER BY u.n NULLS LAST FETCH FIRST 10 ROWS ONLY;
-- values
SELECT t.* FROM (VALUES (1, 'a'), (2, 'b')) AS t (n, s) UNION ALL TABLE pairs;
-- windows
SELECT id, row_number() OVER (PARTITION BY category ORDER BY price DESC) AS rank, sum(price) OVER w FROM docs WINDOW w AS (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);
