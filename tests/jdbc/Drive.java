import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;

/** Asks ClickHouse by its driver as tools do, with the driver's defaults. Arguments: url, user, password. Prints what came. */
public class Drive {
    public static void main(String[] arguments) throws Exception {
        Properties defaults = new Properties();
        defaults.setProperty("user", arguments[1]);
        defaults.setProperty("password", arguments[2]);
        try (Connection connection = DriverManager.getConnection(arguments[0], defaults);
                Statement statement = connection.createStatement()) {
            System.out.println("server " + connection.getMetaData().getDatabaseProductName());
            statement.execute("CREATE TABLE sizes (a UInt64, s String, t DateTime64(3, 'UTC'), f Nullable(Float64)) ORDER BY a");
            try (PreparedStatement insert = connection.prepareStatement("INSERT INTO sizes (a, s, t, f) VALUES (?, ?, ?, ?)")) {
                for (int number = 0; number < 1_000; number++) {
                    insert.setLong(1, number);
                    insert.setString(2, "sö '" + number);
                    insert.setObject(3, java.time.Instant.ofEpochMilli(1_700_000_000_000L + number));
                    insert.setObject(4, number % 2 == 0 ? null : number / 4.0);
                    insert.addBatch();
                }
                insert.executeBatch();
            }
            read(statement, "SELECT count(), sum(a), max(s), toString(max(t)), sum(f) FROM sizes");
            read(statement, "SELECT count(), sum(n), sum(length(s)) FROM (SELECT number AS n, toString(n) AS s FROM numbers(300000))");
            long rows = 0, sum = 0;
            try (ResultSet found = statement.executeQuery("SELECT number, toString(number) AS s FROM numbers(300000)")) {
                while (found.next()) {
                    rows++;
                    sum += found.getLong(1) + found.getString("s").length();
                }
            }
            System.out.println("streamed " + rows + " " + sum);
            try (PreparedStatement query = connection.prepareStatement("SELECT a FROM sizes WHERE s = ?")) {
                query.setString(1, "sö '7");
                try (ResultSet found = query.executeQuery()) {
                    found.next();
                    System.out.println("found " + found.getLong(1));
                }
            }
            read(statement, "SELECT 1 WHERE 0");
            try (ResultSet tables = connection.getMetaData().getTables(null, connection.getSchema(), "%", null)) {
                while (tables.next()) System.out.println("table " + tables.getString("TABLE_NAME"));
            }
            try (ResultSet columns = connection.getMetaData().getColumns(null, connection.getSchema(), "sizes", "%")) {
                while (columns.next()) System.out.println("column " + columns.getString("COLUMN_NAME") + " " + columns.getString("TYPE_NAME"));
            }
            try {
                statement.executeQuery("SELECT a FROM nowhere");
            } catch (SQLException error) {
                System.out.println("refused " + error.getErrorCode() + " " + error.getMessage().contains("UNKNOWN_TABLE"));
            }
        }
        Properties compressing = new Properties();
        compressing.putAll(defaults);
        compressing.setProperty("decompress", "true");
        compressing.setProperty("clickhouse_setting_session_id", "of the driver");
        try (Connection connection = DriverManager.getConnection(arguments[0], compressing);
                Statement statement = connection.createStatement()) {
            statement.execute("CREATE TEMPORARY TABLE mine (a UInt8)");
            statement.execute("INSERT INTO mine VALUES (1), (2)");
            read(statement, "SELECT sum(a) FROM mine");
        }
    }

    private static void read(Statement statement, String sql) throws SQLException {
        try (ResultSet found = statement.executeQuery(sql)) {
            while (found.next()) {
                StringBuilder line = new StringBuilder("row");
                for (int column = 1; column <= found.getMetaData().getColumnCount(); column++) {
                    line.append(" | ").append(found.getString(column));
                }
                System.out.println(line);
            }
        }
        System.out.println("read");
    }
}
