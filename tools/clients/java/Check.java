// Uses a server as programs with JDBC do, and stops at the first thing that is not right. Called with the URL.

import java.math.BigDecimal;
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Array;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Timestamp;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.UUID;
import org.postgresql.PGConnection;
import org.postgresql.util.PGobject;
import org.postgresql.util.PSQLException;

public final class Check {
    static void expect(Object actual, Object wanted, String what) {
        if (!Objects.deepEquals(actual, wanted)) {
            throw new AssertionError(what + ": " + actual + " instead of " + wanted);
        }
    }

    static PGobject vector(String text) throws SQLException {
        PGobject vector = new PGobject();
        vector.setType("vector");
        vector.setValue(text);
        return vector;
    }

    static void values(Connection conn) throws SQLException {
        Object[][] cases = {
            {"smallint", (short) -3, -3}, {"integer", 70_000, 70_000}, {"bigint", 1L << 40, 1L << 40},
            {"double precision", 0.1, 0.1}, {"numeric(9,2)", new BigDecimal("1.50"), new BigDecimal("1.50")},
            {"boolean", true, true}, {"text", "grün '", "grün '"}, {"bytea", new byte[] {0, -1}, new byte[] {0, -1}},
            {"timestamp", Timestamp.valueOf("2024-02-29 12:34:56.789"), Timestamp.valueOf("2024-02-29 12:34:56.789")},
            {"uuid", UUID.fromString("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
                UUID.fromString("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")},
        };
        for (Object[] each : cases) {
            String sql = "SELECT ?::" + each[0] + ", NULL::" + each[0];
            try (PreparedStatement statement = conn.prepareStatement(sql)) {
                // The driver prepares on the server at the fifth time, and takes binary results from then on.
                for (int time = 0; time < 7; time++) {
                    statement.setObject(1, each[1]);
                    try (ResultSet rows = statement.executeQuery()) {
                        rows.next();
                        expect(rows.getObject(1), each[2], (String) each[0]);
                        expect(rows.getObject(2), null, "NULL of " + each[0]);
                    }
                }
            }
        }
        try (PreparedStatement statement = conn.prepareStatement("SELECT ?::int[]")) {
            statement.setArray(1, conn.createArrayOf("int4", new Integer[] {1, null, 3}));
            try (ResultSet rows = statement.executeQuery()) {
                rows.next();
                Array array = rows.getArray(1);
                expect(array.getArray(), new Integer[] {1, null, 3}, "an array");
            }
        }
    }

    static void tables(Connection conn) throws SQLException {
        try (Statement statement = conn.createStatement()) {
            statement.execute("CREATE TABLE jdbc (id serial PRIMARY KEY, word text NOT NULL UNIQUE, v vector(2))");
        }
        try (PreparedStatement insert = conn.prepareStatement("INSERT INTO jdbc (word, v) VALUES (?, ?)")) {
            for (int number = 0; number < 100; number++) {
                insert.setString(1, "w" + number);
                insert.setObject(2, vector("[" + number + ",0]"));
                insert.addBatch();
            }
            int[] counts = insert.executeBatch();
            expect(Arrays.stream(counts).sum(), 100, "a batch");
        }
        String[] keys = {"id"};
        try (PreparedStatement insert = conn.prepareStatement("INSERT INTO jdbc (word) VALUES (?)", keys)) {
            insert.setString(1, "new");
            insert.executeUpdate();
            try (ResultSet generated = insert.getGeneratedKeys()) {
                generated.next();
                expect(generated.getInt(1), 101, "a generated key");
            }
        }
        try (Statement statement = conn.createStatement()) {
            statement.execute("INSERT INTO jdbc (word) VALUES ('new')");
            throw new AssertionError("a word was taken twice");
        } catch (PSQLException error) {
            expect(error.getSQLState(), "23505", "the violation");
            expect(error.getServerErrorMessage().getConstraint(), "jdbc_word_key", "its constraint");
        }
    }

    static void searches(Connection conn) throws SQLException {
        String sql = "SELECT word, v FROM jdbc ORDER BY v <-> ? LIMIT ?";
        try (PreparedStatement near = conn.prepareStatement(sql)) {
            for (int time = 0; time < 7; time++) {
                near.setObject(1, vector("[2.2,0]"));
                near.setInt(2, 3);
                List<String> words = new ArrayList<>();
                try (ResultSet rows = near.executeQuery()) {
                    while (rows.next()) {
                        words.add(rows.getString(1) + rows.getString(2));
                    }
                }
                expect(words, List.of("w2[2,0]", "w3[3,0]", "w1[1,0]"), "neighbours");
            }
        }
    }

    static void transactions(Connection conn) throws SQLException {
        conn.setAutoCommit(false);
        conn.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        try (Statement statement = conn.createStatement()) {
            statement.execute("DELETE FROM jdbc WHERE id = 1");
            Savepoint point = conn.setSavepoint("here");
            statement.execute("DELETE FROM jdbc");
            conn.rollback(point);
            // A cursor: the driver asks for 16 rows at a time.
            statement.setFetchSize(16);
            int count = 0;
            try (ResultSet rows = statement.executeQuery("SELECT * FROM jdbc")) {
                while (rows.next()) {
                    count++;
                }
            }
            expect(count, 100, "rows in parts");
        }
        conn.rollback();
        conn.setAutoCommit(true);
        conn.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        try (Statement statement = conn.createStatement();
                ResultSet rows = statement.executeQuery("SELECT count(*) FROM jdbc")) {
            rows.next();
            expect(rows.getLong(1), 101L, "after the rollback");
        }
    }

    static void metadata(Connection conn) throws SQLException {
        List<String> columns = new ArrayList<>();
        try (ResultSet rows = conn.getMetaData().getColumns(null, "public", "jdbc", null)) {
            while (rows.next()) {
                columns.add(rows.getString("COLUMN_NAME") + " " + rows.getString("TYPE_NAME"));
            }
        }
        expect(columns, List.of("id serial", "word text", "v vector"), "the columns");
        List<String> keys = new ArrayList<>();
        try (ResultSet rows = conn.getMetaData().getPrimaryKeys(null, "public", "jdbc")) {
            while (rows.next()) {
                keys.add(rows.getString("COLUMN_NAME") + " " + rows.getShort("KEY_SEQ") + " " + rows.getString("PK_NAME"));
            }
        }
        expect(keys, List.of("id 1 jdbc_pkey"), "the primary key");
        List<String> indexes = new ArrayList<>();
        try (ResultSet rows = conn.getMetaData().getIndexInfo(null, "public", "jdbc", true, false)) {
            while (rows.next()) {
                indexes.add(rows.getString("INDEX_NAME") + " " + rows.getShort("ORDINAL_POSITION") + " " + rows.getString("COLUMN_NAME"));
            }
        }
        expect(indexes, List.of("jdbc_pkey 1 id", "jdbc_word_key 1 word"), "the unique indexes");
        expect(conn.getMetaData().getDatabaseProductName(), "PostgreSQL", "the product");
    }

    static void copies(Connection conn) throws Exception {
        var copy = conn.unwrap(PGConnection.class).getCopyAPI();
        expect(copy.copyIn("COPY jdbc (word) FROM STDIN", new StringReader("x\ny\n")), 2L, "COPY");
        StringWriter out = new StringWriter();
        copy.copyOut("COPY (SELECT word FROM jdbc WHERE word IN ('x', 'y') ORDER BY word) TO STDOUT", out);
        expect(out.toString(), "x\ny\n", "what COPY gives");
    }

    static void cancelling(Connection conn) throws SQLException {
        try (Statement statement = conn.createStatement()) {
            statement.setQueryTimeout(1);
            statement.execute("SELECT pg_sleep(10)");
            throw new AssertionError("it slept");
        } catch (PSQLException error) {
            expect(error.getSQLState(), "57014", "a statement that took too long");
        }
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection conn = DriverManager.getConnection(arguments[0])) {
            values(conn);
            tables(conn);
            searches(conn);
            transactions(conn);
            metadata(conn);
            copies(conn);
            cancelling(conn);
        }
        System.out.println("all held");
    }
}
